/* The step of rk4.c for a card: a thread takes a cell through all of time, both constants
   by cell. The limit that jaxsoc is measured against there. -DF32 for float. */
#include <cuda_runtime.h>

#ifdef F32
typedef float real;
#else
typedef double real;
#endif

__global__ void march(long n, long steps, real dt, real m, real Y, const real *k,
                      const real *K, real *S, real *B, real *C) {
  const long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
  if (i >= n) return;
  const real h = dt / 2, w = dt / 6, R = w * (1 - Y), rate = k[i], half = K[i];
  real s = S[i], b = B[i], c = C[i];
#define DEC(S, B) (rate * (S) * (B) / (half + (S)))
#pragma unroll 1
  for (long step = 0; step < steps; step++) {
    const real D1 = DEC(s, b), T1 = m * b, x1 = T1 - D1, y1 = Y * D1 - T1;
    const real s2 = s + h * x1, b2 = b + h * y1;
    const real D2 = DEC(s2, b2), T2 = m * b2, x2 = T2 - D2, y2 = Y * D2 - T2;
    const real s3 = s + h * x2, b3 = b + h * y2;
    const real D3 = DEC(s3, b3), T3 = m * b3, x3 = T3 - D3, y3 = Y * D3 - T3;
    const real s4 = s + dt * x3, b4 = b + dt * y3;
    const real D4 = DEC(s4, b4), T4 = m * b4, x4 = T4 - D4, y4 = Y * D4 - T4;
    s += w * (x1 + 2 * (x2 + x3) + x4);
    b += w * (y1 + 2 * (y2 + y3) + y4);
    c += R * (D1 + 2 * (D2 + D3) + D4);
  }
  S[i] = s, B[i] = b, C[i] = c;
}

/* Seconds of the second of two launches, or a negative number for an error. */
extern "C" double run(long n, long steps) {
  real *x[5], start[5] = {1e-3, 100, 150, 1.5, 0};
  for (int j = 0; j < 5; j++) {
    if (cudaMalloc(&x[j], n * sizeof(real))) return -1;
    real *filled = new real[n];
    for (long i = 0; i < n; i++) filled[i] = start[j];
    cudaMemcpy(x[j], filled, n * sizeof(real), cudaMemcpyHostToDevice);
    delete[] filled;
  }
  cudaEvent_t from, to;
  cudaEventCreate(&from), cudaEventCreate(&to);
  for (int turn = 0; turn < 2; turn++) {
    cudaEventRecord(from);
    march<<<(n + 127) / 128, 128>>>(n, steps, 4, 2.8e-4, 0.31, x[0], x[1], x[2], x[3],
                                    x[4]);
    cudaEventRecord(to);
  }
  if (cudaEventSynchronize(to)) return -2;
  float milliseconds = 0;
  cudaEventElapsedTime(&milliseconds, from, to);
  for (int j = 0; j < 5; j++) cudaFree(x[j]);
  return milliseconds / 1e3;
}
