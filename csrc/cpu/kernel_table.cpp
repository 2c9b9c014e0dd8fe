// The kernels of one instruction set, gathered for dispatch.cpp.
#include "cpu/gemm.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"

namespace stadx::STADX_ISA {

void ensemble_score_planar_f32(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
void ensemble_score_planar_bf16(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
void ensemble_score_channels_last_f32(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
void ensemble_score_channels_last_bf16(const EnsembleScoreArgs&, int64_t, int64_t, int64_t);
int64_t count_runs(const MaskView&);
int64_t label_regions(const MaskView&, bool, Run*, int64_t*, int32_t*);
int64_t pro_curve_f32(const ProCurveArgs&);
int64_t pro_curve_f64(const ProCurveArgs&);
int64_t winograd_blocks(const DenseLayer&, int);
int64_t winograd_scratch(const DenseLayer&, int, int64_t);
void winograd_to_map(const DenseLayer&, int, const DenseOutput&, int64_t, float*);
void winograd_to_score(const DenseScore&, int, int64_t, float*);
int64_t direct_rows(const DenseLayer&);
int64_t direct_scratch(const DenseLayer&, int64_t);
void direct_to_map(const DenseLayer&, const DenseOutput&, int64_t);
void direct_to_score(const DenseScore&, int64_t, float*);

extern const KernelTable table;
const KernelTable table = {ensemble_score_planar_f32,
                           ensemble_score_planar_bf16,
                           ensemble_score_channels_last_f32,
                           ensemble_score_channels_last_bf16,
                           count_runs,
                           label_regions,
                           pro_curve_f32,
                           pro_curve_f64,
                           kWidth,
                           winograd_blocks,
                           winograd_scratch,
                           winograd_to_map,
                           winograd_to_score,
                           direct_rows,
                           direct_scratch,
                           direct_to_map,
                           direct_to_score};

}  // namespace stadx::STADX_ISA
