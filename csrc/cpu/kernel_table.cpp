// The kernels of one instruction set, gathered for dispatch.cpp.
#include "cpu/dense_gemm.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"

namespace stadx::STADX_ISA {

void ensemble_score_planar_f32(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
void ensemble_score_planar_bf16(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
void ensemble_score_channels_last_f32(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
void ensemble_score_channels_last_bf16(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
int64_t label_find(const LabelImage&, int64_t, int64_t);
void label_join(const LabelImage&, int64_t);
int64_t label_number(const LabelImage&);
void label_paint(const LabelImage&, int64_t, int64_t, int32_t*);
void label_gather(const LabelImage&, const void*, int64_t, int, const DefectPixels&);
int64_t count_scores_f32(const float*, int64_t, const ThresholdTable&, const KeyBuffers&, uint32_t*);
int64_t count_scores_f64(const double*, int64_t, const ThresholdTable&, const KeyBuffers&, uint32_t*);
void count_buffered_f32(const ThresholdTable&, const KeyBuffers&, uint32_t*);
void count_buffered_f64(const ThresholdTable&, const KeyBuffers&, uint32_t*);
int64_t winograd_blocks(const DenseLayer&, int);
int64_t winograd_scratch(const DenseLayer&, int, int64_t);
void winograd_to_map(const DenseLayer&, int, const DenseOutput&, int64_t, float*);
void winograd_to_score(const DenseScore&, int, int64_t, float*);
int64_t direct_rows(const DenseLayer&);
int64_t direct_scratch(const DenseLayer&, int64_t);
void direct_to_map(const DenseLayer&, const DenseOutput&, int64_t);
void direct_to_score(const DenseScore&, int64_t, float*);
int64_t matrix_products_scratch(const MatrixProducts&);
void matrix_products(const MatrixProducts&, int64_t, float*);
void winograd_inputs(const WinogradTiles&, int64_t);
void winograd_outputs(const WinogradTiles&, int64_t);
void winograd_inputs_transposed(const WinogradTiles&, int64_t);
void winograd_outputs_transposed(const WinogradTiles&, int64_t);
void winograd_weights(const WinogradWeights&, int64_t);
void winograd_weights_transposed(const WinogradWeights&, int64_t);

extern const KernelTable table;
const KernelTable table = {
    .ensemble_score_planar_f32 = ensemble_score_planar_f32,
    .ensemble_score_planar_bf16 = ensemble_score_planar_bf16,
    .ensemble_score_channels_last_f32 = ensemble_score_channels_last_f32,
    .ensemble_score_channels_last_bf16 = ensemble_score_channels_last_bf16,
    .label_find = label_find,
    .label_join = label_join,
    .label_number = label_number,
    .label_paint = label_paint,
    .label_gather = label_gather,
    .count_scores_f32 = count_scores_f32,
    .count_scores_f64 = count_scores_f64,
    .count_buffered_f32 = count_buffered_f32,
    .count_buffered_f64 = count_buffered_f64,
    .weight_width = kWidth,
    .winograd_blocks = winograd_blocks,
    .winograd_scratch = winograd_scratch,
    .winograd_to_map = winograd_to_map,
    .winograd_to_score = winograd_to_score,
    .direct_rows = direct_rows,
    .direct_scratch = direct_scratch,
    .direct_to_map = direct_to_map,
    .direct_to_score = direct_to_score,
    .matrix_products_scratch = matrix_products_scratch,
    .matrix_products = matrix_products,
    .winograd_inputs = winograd_inputs,
    .winograd_outputs = winograd_outputs,
    .winograd_inputs_transposed = winograd_inputs_transposed,
    .winograd_outputs_transposed = winograd_outputs_transposed,
    .winograd_weights = winograd_weights,
    .winograd_weights_transposed = winograd_weights_transposed,
};

}  // namespace stadx::STADX_ISA
