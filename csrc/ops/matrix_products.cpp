// stadx::matrix_products: products of two stacks of matrices, for training by Winograd's method.
#include "cpu/dense.h"
#include "cpu/kernels.h"
#include "ops/items.h"
#include "ops/matrices.h"
#include "ops/operator.h"

namespace stadx {
namespace {

using torch::stable::Tensor;

// [n, rows, depth] or, transposed, [n, depth, rows]; [n, depth, columns] or [n, columns, depth].
Tensor matrix_products_cpu(const Tensor left, const Tensor right, bool left_transposed,
                           bool right_transposed) {
  check_matrices(left, "matrix_products: left");
  check_matrices(right, "matrix_products: right");
  MatrixProducts a{};
  a.rows = left.size(left_transposed ? 2 : 1);
  a.depth = left.size(left_transposed ? 1 : 2);
  a.columns = right.size(right_transposed ? 1 : 2);
  const int64_t count = left.size(0);
  STD_TORCH_CHECK(right.size(0) == count && right.size(right_transposed ? 2 : 1) == a.depth,
                  "matrix_products: left and right do not fit together");
  STD_TORCH_CHECK(a.columns % kChannelBlock == 0, "matrix_products: columns must be a multiple of ",
                  kChannelBlock, ", not ", a.columns);
  Tensor out = new_matrices(left, count, a.rows, a.columns);
  if (out.numel() == 0) return out;
  a.left = left.const_data_ptr<float>();
  a.right = right.const_data_ptr<float>();
  a.out = out.mutable_data_ptr<float>();
  a.left_step = left.stride(0);
  a.right_step = right.stride(0);
  a.out_step = out.stride(0);
  a.left_transposed = left_transposed;
  a.right_transposed = right_transposed;
  const KernelTable& table = kernels();
  for_each_item(count * ((a.columns + kPanel - 1) / kPanel), table.matrix_products_scratch(a),
                [&](int64_t i, float* scratch) { table.matrix_products(a, i, scratch); });
  return out;
}

}  // namespace

STADX_CPU_OPERATOR(matrix_products,
                   "(Tensor left, Tensor right, bool left_transposed, bool right_transposed) -> Tensor")

}  // namespace stadx
