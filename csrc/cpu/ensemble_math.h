// The arithmetic of the ensemble score for one descriptor component, for scalars and vectors alike.
#pragma once

#include "cpu/compiler.h"

namespace stadx {

// Adds one component's share to e = ‖mean_i Sᵢ − (T − µ)/σ‖² and v = mean_i ‖Sᵢ − mean‖² (v without its 1/M).
// `student(i)` gives Sᵢ. The variance is centred on the mean, since Σ Sᵢ² − (Σ Sᵢ)² would cancel in float.
template <int M, typename V, typename Student>
STADX_ALWAYS_INLINE void accumulate_component(const Student& student, int num_students, V inv_students,
                                              V teacher, V mean, V std_dev, V& error, V& variance) {
  const int m = M > 0 ? M : num_students;  // M = 0: known at run time only
  V center = student(0);
  for (int i = 1; i < m; ++i) center += student(i);
  center *= inv_students;
  const V miss = center - (teacher - mean) / std_dev;
  error += miss * miss;
  for (int i = 0; i < m; ++i) {
    const V spread = student(i) - center;
    variance += spread * spread;
  }
}

}  // namespace stadx
