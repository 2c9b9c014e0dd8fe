// Connected regions of masks on a GPU: block-based union-find (Allegretti, Bolelli and Grana, "Optimized
// block-based algorithms to label connected components on GPUs", 2019) over bits. Only integers, so the
// results are the CPU's.
#pragma once

#include "cuda/label_find.cuh"
#include "cuda/label_image.cuh"
#include "cuda/label_number.cuh"
