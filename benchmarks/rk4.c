/* The classical Runge-Kutta method for the two-pool model, as fast as plain C goes:
   the limit that jaxsoc is measured against.

   Structure of arrays, the time loop inside a block of cells that stays in the first
   cache, daily moments in two passes per block, merged by the law of total covariance.
   LAW 0: multiplicative, rate by cell; 1: Michaelis-Menten, uniform constants;
   2: Michaelis-Menten, both constants by cell. -DF32 for float. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#ifdef F32
typedef float real;
#else
typedef double real;
#endif
#ifndef BLOCK
#define BLOCK 256
#endif
#if LAW == 0
#define NP 1
#define RATE k[i]
#define DEC(S, B) (k[i] * (S) * (B))
#elif LAW == 1
#define NP 0
#define RATE k0
#define HALF K0
#define DEC(S, B) (k0 * (S) * (B) / (K0 + (S)))
#else
#define NP 2
#define RATE k[i]
#define HALF K[i]
#define DEC(S, B) (k[i] * (S) * (B) / (K[i] + (S)))
#endif
#define NQ (3 + NP)
#define NPAIR (NQ * (NQ + 1) / 2)
#define NOUT (NQ + NPAIR + 4 + 3)

typedef struct {
  double n, mean[NQ], m2[NPAIR], flux, min[3];
} Moments;

typedef struct {
  double dt, input, mortality, yield, rate, half, courant;
} Numbers;

/* Joins b to a: the law of total covariance. */
static void merge(Moments *a, const Moments *b) {
  if (b->n == 0) return;
  if (a->n == 0) { *a = *b; return; }
  const double n = a->n + b->n, share = b->n / n, both = a->n * share;
  double d[NQ];
  for (int i = 0; i < NQ; i++) d[i] = b->mean[i] - a->mean[i];
  for (int i = 0, p = 0; i < NQ; i++)
    for (int j = i; j < NQ; j++, p++) a->m2[p] += b->m2[p] + both * d[i] * d[j];
  for (int i = 0; i < NQ; i++) a->mean[i] += share * d[i];
  a->flux += share * (b->flux - a->flux);
  for (int i = 0; i < 3; i++) a->min[i] = fmin(a->min[i], b->min[i]);
  a->n = n;
}

/* Means and covariances that do not change in time: those of the constants. */
static void constants(int len, const real *restrict k, const real *restrict K,
                      Moments *out) {
  memset(out, 0, sizeof *out);
  out->n = len;
#if NP >= 1
  real mk = 0, kk = 0;
#pragma omp simd reduction(+ : mk)
  for (int i = 0; i < len; i++) mk += k[i];
  mk /= len;
#pragma omp simd reduction(+ : kk)
  for (int i = 0; i < len; i++) kk += (k[i] - mk) * (k[i] - mk);
  out->mean[3] = mk;
  out->m2[NP == 1 ? 9 : 12] = kk;
#endif
#if NP == 2
  real mK = 0, kK = 0, KK = 0;
#pragma omp simd reduction(+ : mK)
  for (int i = 0; i < len; i++) mK += K[i];
  mK /= len;
#pragma omp simd reduction(+ : kK, KK)
  for (int i = 0; i < len; i++) {
    const real y = K[i] - mK;
    kK += (k[i] - mk) * y, KK += y * y;
  }
  out->mean[4] = mK, out->m2[13] = kK, out->m2[14] = KK;
#endif
}

static void measure(int len, const real *restrict S, const real *restrict B,
                    const real *restrict C, const real *restrict k,
                    const real *restrict K, real k0, real K0, Moments *out) {
  real sS = 0, sB = 0, sC = 0, sD = 0, lS = S[0], lB = B[0], lC = C[0];
#pragma omp simd reduction(+ : sS, sB, sC, sD) reduction(min : lS, lB, lC)
  for (int i = 0; i < len; i++) {
    const real s = S[i], b = B[i], c = C[i];
    sS += s, sB += b, sC += c, sD += DEC(s, b);
    lS = s < lS ? s : lS, lB = b < lB ? b : lB, lC = c < lC ? c : lC;
  }
  const real mS = sS / len, mB = sB / len, mC = sC / len;
  real ss = 0, sb = 0, sc = 0, bb = 0, bc = 0, cc = 0;
#if NP >= 1
  const real mk = out->mean[3];
  real sk = 0, bk = 0, ck = 0;
#endif
#if NP == 2
  const real mK = out->mean[4];
  real sK = 0, bK = 0, cK = 0;
#endif
#if NP == 0
#pragma omp simd reduction(+ : ss, sb, sc, bb, bc, cc)
#elif NP == 1
#pragma omp simd reduction(+ : ss, sb, sc, bb, bc, cc, sk, bk, ck)
#else
#pragma omp simd reduction(+ : ss, sb, sc, bb, bc, cc, sk, bk, ck, sK, bK, cK)
#endif
  for (int i = 0; i < len; i++) {
    const real s = S[i] - mS, b = B[i] - mB, c = C[i] - mC;
    ss += s * s, sb += s * b, sc += s * c, bb += b * b, bc += b * c, cc += c * c;
#if NP >= 1
    const real x = k[i] - mk;
    sk += s * x, bk += b * x, ck += c * x;
#endif
#if NP == 2
    const real y = K[i] - mK;
    sK += s * y, bK += b * y, cK += c * y;
#endif
  }
  double *q = out->m2;
  out->mean[0] = mS, out->mean[1] = mB, out->mean[2] = mC;
  out->flux = sD / len;
  out->min[0] = lS, out->min[1] = lB, out->min[2] = lC;
  q[0] = ss, q[1] = sb, q[2] = sc, q[NQ] = bb, q[NQ + 1] = bc, q[2 * NQ - 1] = cc;
#if NP >= 1
  q[3] = sk, q[NQ + 2] = bk, q[2 * NQ] = ck;
#endif
#if NP == 2
  q[4] = sK, q[NQ + 3] = bK, q[2 * NQ + 1] = cK;
#endif
}

/* Steps that the block needs over the coming day: rate x step <= courant. */
static long needed(int len, const real *restrict S, const real *restrict B,
                   const real *restrict k, const real *restrict K, Numbers c,
                   double day) {
  real most = 0;
  const real k0 = c.rate, K0 = c.half, Y = c.yield, more = c.yield * c.input * day;
#pragma omp simd reduction(max : most)
  for (int i = 0; i < len; i++) {
    const real b = Y * S[i] + B[i] + more;
#if LAW == 0
    const real r = RATE * (b + Y * S[i]);
#else
    const real r = RATE * (b / HALF + Y * S[i] / (HALF + S[i]));
#endif
    most = r > most ? r : most;
  }
  (void)k0, (void)K0;
  return 2 * (long)ceil(day * (most + c.mortality) / (2 * c.courant));
}

static void advance(int len, long steps, double length, real *restrict S,
                    real *restrict B, real *restrict C, const real *restrict k,
                    const real *restrict K, Numbers c) {
  const real dt = length, h = dt / 2, w = dt / 6, I = c.input, m = c.mortality;
  const real Y = c.yield, R = w * (1 - Y), k0 = c.rate, K0 = c.half;
  for (long s = 0; s < steps; s++) {
#pragma omp simd
    for (int i = 0; i < len; i++) {
      const real s1 = S[i], b1 = B[i];
      const real D1 = DEC(s1, b1), T1 = m * b1, x1 = I - D1 + T1, y1 = Y * D1 - T1;
      const real s2 = s1 + h * x1, b2 = b1 + h * y1;
      const real D2 = DEC(s2, b2), T2 = m * b2, x2 = I - D2 + T2, y2 = Y * D2 - T2;
      const real s3 = s1 + h * x2, b3 = b1 + h * y2;
      const real D3 = DEC(s3, b3), T3 = m * b3, x3 = I - D3 + T3, y3 = Y * D3 - T3;
      const real s4 = s1 + dt * x3, b4 = b1 + dt * y3;
      const real D4 = DEC(s4, b4), T4 = m * b4, x4 = I - D4 + T4, y4 = Y * D4 - T4;
      S[i] = s1 + w * (x1 + 2 * (x2 + x3) + x4);
      B[i] = b1 + w * (y1 + 2 * (y2 + y3) + y4);
      C[i] += R * (D1 + 2 * (D2 + D3) + D4);
    }
  }
  (void)k0, (void)K0;
}

/* Daily moments, (days + 1) x NOUT: means, covariances, mean fluxes, minima. With
   courant > 0 each block takes its own number of steps. Returns cell-steps. */
double run(long n, long days, long steps, const real *S0, const real *B0,
           const real *k0, const real *K0, const Numbers *numbers, int threads,
           double *out) {
  const Numbers c = *numbers;
  const double day = c.dt * steps;
  const long blocks = (n + BLOCK - 1) / BLOCK;
  Moments *all = calloc((size_t)threads * (days + 1), sizeof *all);
  double work = 0;
#pragma omp parallel num_threads(threads) reduction(+ : work)
  {
    Moments *mine = all + (size_t)omp_get_thread_num() * (days + 1), here;
    real S[BLOCK], B[BLOCK], C[BLOCK];
#pragma omp for schedule(dynamic)
    for (long b = 0; b < blocks; b++) {
      const long o = b * BLOCK;
      const int len = n - o < BLOCK ? n - o : BLOCK;
      const real *k = k0 + o, *K = K0 + o;
      memcpy(S, S0 + o, len * sizeof(real));
      memcpy(B, B0 + o, len * sizeof(real));
      memset(C, 0, sizeof C);
      constants(len, k, K, &here);
      for (long d = 0;; d++) {
        measure(len, S, B, C, k, K, c.rate, c.half, &here);
        merge(mine + d, &here);
        if (d == days) break;
        const long count = c.courant > 0 ? needed(len, S, B, k, K, c, day) : steps;
        advance(len, count, day / count, S, B, C, k, K, c);
        work += (double)count * len;
      }
    }
  }
  for (long d = 0; d <= days; d++, out += NOUT) {
    Moments m = all[d];
    for (int t = 1; t < threads; t++) merge(&m, all + (size_t)t * (days + 1) + d);
    for (int i = 0; i < NQ; i++) out[i] = m.mean[i];
    for (int i = 0; i < NPAIR; i++) out[NQ + i] = m.m2[i] / m.n;
    double *flux = out + NQ + NPAIR, D = m.flux, T = c.mortality * m.mean[1];
    flux[0] = D, flux[1] = T, flux[2] = c.yield * D, flux[3] = (1 - c.yield) * D;
    for (int i = 0; i < 3; i++) flux[4 + i] = m.min[i];
  }
  free(all);
  return work;
}
