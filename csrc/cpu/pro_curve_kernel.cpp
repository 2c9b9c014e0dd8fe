// The exact PRO curve: one sweep over the pixels of the whole set, from the highest score to the lowest.
#include "cpu/isa.h"
#include "cpu/kernels.h"

namespace stadx::STADX_ISA {
namespace {

// A sum of doubles that carries its rounding errors along: as good as twice the precision.
struct CarefulSum {
  double sum = 0.0, rest = 0.0;

  void add(double x) {
    const double total = sum + x;
    const double from_x = total - sum;
    rest += (sum - (total - from_x)) + (x - from_x);
    sum = total;
  }
  double value() const { return sum + rest; }
};

struct CurveWriter {
  double *fpr, *pro, *thresholds;
  bool drop_collinear;
  int64_t count = 0;

  void add(double x, double y, double threshold) {
    // The middle one of three points on a level or upright line changes nothing in the curve.
    if (drop_collinear && count >= 2 &&
        ((pro[count - 1] == y && pro[count - 2] == y) || (fpr[count - 1] == x && fpr[count - 2] == x))) {
      --count;
    }
    fpr[count] = x;
    pro[count] = y;
    thresholds[count] = threshold;
    ++count;
  }
};

template <typename T>
int64_t sweep(const ProCurveArgs& a) {
  const T* scores = static_cast<const T*>(a.scores);
  const double num_background = static_cast<double>(a.region_sizes[0]);
  const double num_regions = static_cast<double>(a.num_regions);
  CurveWriter curve{a.fpr, a.pro, a.thresholds, a.drop_collinear};
  curve.add(0.0, 0.0, __builtin_inf());

  int64_t background = 0;
  CarefulSum shares;  // sum over regions of the share above the threshold
  for (int64_t i = 0; i < a.size;) {
    const T score = scores[i];
    for (; i < a.size && scores[i] == score; ++i) {  // equal scores pass the threshold together
      const int32_t region = a.regions[a.order[i]];
      if (region == 0) {
        ++background;
      } else {
        shares.add(1.0 / static_cast<double>(a.region_sizes[region]));
      }
    }
    double pro = shares.value() / num_regions;
    if (pro > 1.0 || i == a.size) pro = 1.0;  // rounding aside, this is where it ends
    curve.add(static_cast<double>(background) / num_background, pro, static_cast<double>(score) + 0.0);
  }
  curve.add(1.0, 1.0, -__builtin_inf());
  return curve.count;
}

}  // namespace

int64_t pro_curve_f32(const ProCurveArgs& a) { return sweep<float>(a); }
int64_t pro_curve_f64(const ProCurveArgs& a) { return sweep<double>(a); }

}  // namespace stadx::STADX_ISA
