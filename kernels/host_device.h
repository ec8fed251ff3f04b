// Functions that run on the CPU and, where nvcc compiles them, on the GPU.
#pragma once

#if defined(__CUDACC__)
#define SDA_FN __host__ __device__ inline
#else
#define SDA_FN inline
#endif
