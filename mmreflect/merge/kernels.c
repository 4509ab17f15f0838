/* The arithmetic of a merge in one pass over each value: see kernels.py, which builds and calls this, and OnCpu in
 * arithmetic.py, whose numpy gives the same results to the last bit. Arrays may lie at any address.
 *
 * Nothing here may be contracted or reordered by the compiler (-ffp-contract=off, no -ffast-math), with one exception:
 * a product of two float32 is exact in float64, so that it may be fused with the sum that it is added to.
 */

#include <string.h>

#include "kernels.h"
#ifdef __AVX__
#include <immintrin.h>
#endif

enum { MIX, BLEND };
enum { BLOCK = 65536, CHUNK = 1024 };

typedef uint16_t any16 __attribute__((aligned(1), may_alias));
typedef float any32 __attribute__((aligned(1), may_alias));
typedef double any64 __attribute__((aligned(1), may_alias));
typedef float narrow4 __attribute__((vector_size(16)));
typedef double wide4 __attribute__((vector_size(32)));
typedef float any_narrow4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double any_wide4 __attribute__((vector_size(32), aligned(8), may_alias));

static inline float as_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint32_t as_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

static inline float from_half(uint16_t half)
{
    float scaled = as_float((uint32_t)(half & 0x7fff) << 13) * 0x1p112f; /* exact, also where half is subnormal */
    uint32_t bits = as_bits(scaled) | (scaled >= 65536.0f ? 0x7f800000u : 0u);
    return as_float(bits | (uint32_t)(half & 0x8000) << 16);
}

/* To nearest, ties to even; what float16 cannot hold becomes infinite. */
static inline uint16_t to_half(float value)
{
    uint32_t bits = as_bits(value), size = bits & 0x7fffffff;
    uint32_t normal = (size - (112u << 23) + 0xfff + ((size >> 13) & 1)) >> 13;
    uint32_t small = as_bits(as_float(size) + 0.5f) - as_bits(0.5f); /* the sum rounds to steps of 2^-24 */
    uint32_t half = size < 0x38800000u ? small : normal;
    half = size >= 0x47800000u ? 0x7c00u : half;
    half = size > 0x7f800000u ? 0x7e00u : half;
    return (uint16_t)(half | (bits >> 16 & 0x8000));
}

static inline uint16_t to_brain(float value)
{
    uint32_t bits = as_bits(value);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static void widen(const unsigned char *raw, int code, int64_t first, int count, float *restrict out)
{
    if (code == BF16) {
        const any16 *values = (const any16 *)raw + first;
        for (int i = 0; i < count; i++)
            out[i] = as_float((uint32_t)values[i] << 16);
    } else if (code == F16) {
        const any16 *values = (const any16 *)raw + first;
        for (int i = 0; i < count; i++)
            out[i] = from_half(values[i]);
    } else if (code == F32) {
        memcpy(out, (const any32 *)raw + first, sizeof(float) * (size_t)count);
    } else {
        const any64 *values = (const any64 *)raw + first;
        for (int i = 0; i < count; i++)
            out[i] = (float)values[i];
    }
}

static void narrow(const float *restrict values, int code, int64_t first, int count, unsigned char *raw)
{
    if (code == BF16) {
        any16 *out = (any16 *)raw + first;
        for (int i = 0; i < count; i++)
            out[i] = to_brain(values[i]);
    } else if (code == F16) {
        any16 *out = (any16 *)raw + first;
        for (int i = 0; i < count; i++)
            out[i] = to_half(values[i]);
    } else if (code == F32) {
        memcpy((any32 *)raw + first, values, sizeof(float) * (size_t)count);
    } else {
        any64 *out = (any64 *)raw + first;
        for (int i = 0; i < count; i++)
            out[i] = values[i];
    }
}

#define NARROW(address) (*(const any_narrow4 *)(address))
#define WIDE(address) (*(any_wide4 *)(address))
#ifdef __AVX__
#define CONVERT(value) ((wide4)_mm256_cvtps_pd((__m128)(value))) /* gcc makes four instructions of the other */
#else
#define CONVERT(value) __builtin_convertvector(value, wide4)
#endif

/* Add rows of LANES values to the lanes, in ascending order in each lane. */
static void add_rows(const float *base, const float *vlm, const float *reason, int rows, double (*sums)[LANES])
{
    for (int lane = 0; lane < LANES; lane += 8) {
        wide4 vv[2], rr[2], vr[2], bb[2];
        for (int half = 0; half < 2; half++) {
            vv[half] = WIDE(&sums[0][lane + 4 * half]);
            rr[half] = WIDE(&sums[1][lane + 4 * half]);
            vr[half] = WIDE(&sums[2][lane + 4 * half]);
            bb[half] = WIDE(&sums[3][lane + 4 * half]);
        }
        for (int i = lane; i < rows * LANES; i += LANES) {
            for (int half = 0; half < 2; half++) {
                narrow4 from = NARROW(base + i + 4 * half);
                wide4 b = CONVERT(from);
                wide4 v = CONVERT(NARROW(vlm + i + 4 * half) - from);
                wide4 r = CONVERT(NARROW(reason + i + 4 * half) - from);
                vv[half] += v * v;
                rr[half] += r * r;
                vr[half] += v * r;
                bb[half] += b * b;
            }
        }
        for (int half = 0; half < 2; half++) {
            WIDE(&sums[0][lane + 4 * half]) = vv[half];
            WIDE(&sums[1][lane + 4 * half]) = rr[half];
            WIDE(&sums[2][lane + 4 * half]) = vr[half];
            WIDE(&sums[3][lane + 4 * half]) = bb[half];
        }
    }
}

#if defined(__AVX2__) && defined(__FMA__)
#define HAS_BRAIN_ROWS 1

/* Four of eight bfloat16 as float32. */
#define FIRST_FOUR(values) _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), values))
#define LAST_FOUR(values) _mm_castsi128_ps(_mm_unpackhi_epi16(_mm_setzero_si128(), values))

static inline void add_four(__m128 base, __m128 vlm, __m128 reason, __m256d *total)
{
    __m256d b = _mm256_cvtps_pd(base);
    __m256d v = _mm256_cvtps_pd(_mm_sub_ps(vlm, base)), r = _mm256_cvtps_pd(_mm_sub_ps(reason, base));
    total[0] = _mm256_fmadd_pd(v, v, total[0]);
    total[1] = _mm256_fmadd_pd(r, r, total[1]);
    total[2] = _mm256_fmadd_pd(v, r, total[2]);
    total[3] = _mm256_fmadd_pd(b, b, total[3]);
}

/* Ask for a share of the next chunk: the arithmetic on a chunk takes as long as memory needs for that. */
static inline void ask_ahead(const unsigned char *raw, int lane)
{
    enum { SHARE = 2 * CHUNK / (LANES / 8), LINE = 64 };
    for (int i = 0; i < SHARE; i += LINE)
        __builtin_prefetch(raw + 2 * CHUNK + lane / 8 * SHARE + i);
}

/* The same for rows of bfloat16 as they were read, without the way through memory. */
static void add_brain_rows(const unsigned char *base, const unsigned char *vlm, const unsigned char *reason, int rows,
                           double (*sums)[LANES])
{
    for (int lane = 0; lane < LANES; lane += 8) {
        __m256d first[4], last[4];
        ask_ahead(base, lane);
        ask_ahead(vlm, lane);
        ask_ahead(reason, lane);
        for (int sum = 0; sum < 4; sum++) {
            first[sum] = _mm256_loadu_pd(&sums[sum][lane]);
            last[sum] = _mm256_loadu_pd(&sums[sum][lane + 4]);
        }
        for (int i = 2 * lane; i < 2 * rows * LANES; i += 2 * LANES) {
            __m128i b = _mm_loadu_si128((const __m128i *)(base + i)), v = _mm_loadu_si128((const __m128i *)(vlm + i));
            __m128i r = _mm_loadu_si128((const __m128i *)(reason + i));
            add_four(FIRST_FOUR(b), FIRST_FOUR(v), FIRST_FOUR(r), first);
            add_four(LAST_FOUR(b), LAST_FOUR(v), LAST_FOUR(r), last);
        }
        for (int sum = 0; sum < 4; sum++) {
            _mm256_storeu_pd(&sums[sum][lane], first[sum]);
            _mm256_storeu_pd(&sums[sum][lane + 4], last[sum]);
        }
    }
}
#else
#define HAS_BRAIN_ROWS 0
#define add_brain_rows(base, vlm, reason, rows, sums)
#endif

/* Add the lanes of ||vlm - base||^2, ||reason - base||^2, their product and ||base||^2 to what is there;
 * base may be NULL. */
void mmreflect_measure(const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                       const unsigned char *reason, int reason_code, int64_t count, double (*lanes)[LANES])
{
    float b[CHUNK] = {0}, v[CHUNK], r[CHUNK];
    double sums[4][LANES];
    int brain = base && base_code == BF16 && vlm_code == BF16 && reason_code == BF16;
    for (int64_t block = 0; block < count; block += BLOCK) {
        int64_t stop = count - block < BLOCK ? count : block + BLOCK;
        memset(sums, 0, sizeof sums);
        for (int64_t first = block; first < stop; first += CHUNK) {
            int size = (int)(stop - first < CHUNK ? stop - first : CHUNK);
            int rows = size / LANES;
            if (HAS_BRAIN_ROWS && brain && size == CHUNK) {
                add_brain_rows(base + 2 * first, vlm + 2 * first, reason + 2 * first, rows, sums);
                continue;
            }
            if (base)
                widen(base, base_code, first, size, b);
            widen(vlm, vlm_code, first, size, v);
            widen(reason, reason_code, first, size, r);
            add_rows(b, v, r, rows, sums);
            for (int i = rows * LANES, lane = 0; i < size; i++, lane++) {
                double from = b[i], one = v[i] - b[i], two = r[i] - b[i];
                sums[0][lane] += one * one;
                sums[1][lane] += two * two;
                sums[2][lane] += one * two;
                sums[3][lane] += from * from;
            }
        }
        for (int sum = 0; sum < 4; sum++)
            for (int lane = 0; lane < LANES; lane++)
                lanes[sum][lane] += sums[sum][lane];
    }
}

static inline float mixed(float base, float vlm, float reason, float lam_v, float lam_r)
{
    return ((vlm - base) * lam_v + (reason - base) * lam_r) + base;
}

#ifdef __AVX2__
/* Eight of sixteen bfloat16 as float32: the first four of each half, or the others; packing puts them back. */
#define FIRST(values) _mm256_castsi256_ps(_mm256_unpacklo_epi16(_mm256_setzero_si256(), values))
#define SECOND(values) _mm256_castsi256_ps(_mm256_unpackhi_epi16(_mm256_setzero_si256(), values))

static inline __m256i brain_bits(__m256 base, __m256 vlm, __m256 reason, __m256 lam_v, __m256 lam_r)
{
    __m256 from_vlm = _mm256_mul_ps(_mm256_sub_ps(vlm, base), lam_v);
    __m256 from_reason = _mm256_mul_ps(_mm256_sub_ps(reason, base), lam_r);
    __m256i bits = _mm256_castps_si256(_mm256_add_ps(_mm256_add_ps(from_vlm, from_reason), base));
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
}

/* Mix sixteen values at once as far as there are so many; return how many, and set `lost` where one is not finite. */
static int64_t mix_sixteens(const any16 *base, const any16 *vlm, const any16 *reason, int64_t count, float lam_v,
                            float lam_r, any16 *out, int *lost)
{
    const __m256i exponent = _mm256_set1_epi16(0x7f80);
    __m256i full = _mm256_setzero_si256();
    const __m256 one = _mm256_set1_ps(lam_v), two = _mm256_set1_ps(lam_r);
    enum { AHEAD = 512 }; /* by so much memory is later than the arithmetic */
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __builtin_prefetch(base + i + AHEAD);
        __builtin_prefetch(vlm + i + AHEAD);
        __builtin_prefetch(reason + i + AHEAD);
        __m256i b = _mm256_loadu_si256((const __m256i *)(base + i));
        __m256i v = _mm256_loadu_si256((const __m256i *)(vlm + i));
        __m256i r = _mm256_loadu_si256((const __m256i *)(reason + i));
        __m256i low = brain_bits(FIRST(b), FIRST(v), FIRST(r), one, two);
        __m256i high = brain_bits(SECOND(b), SECOND(v), SECOND(r), one, two);
        __m256i mixed = _mm256_packus_epi32(low, high);
        full = _mm256_or_si256(full, _mm256_cmpeq_epi16(_mm256_and_si256(mixed, exponent), exponent));
        _mm256_storeu_si256((__m256i *)(out + i), mixed);
    }
    *lost |= !_mm256_testz_si256(full, full);
    return i;
}
#else
#define mix_sixteens(base, vlm, reason, count, lam_v, lam_r, out, lost) 0
#endif

/* The usual case, without the way through memory; tell whether a value is not finite. */
static int mix_brain(const any16 *restrict base, const any16 *restrict vlm, const any16 *restrict reason,
                     int64_t count, float lam_v, float lam_r, any16 *restrict out)
{
    int lost = 0;
    int64_t done = mix_sixteens(base, vlm, reason, count, lam_v, lam_r, out, &lost);
    for (int64_t i = done; i < count; i++) {
        float b = as_float((uint32_t)base[i] << 16), v = as_float((uint32_t)vlm[i] << 16);
        out[i] = to_brain(mixed(b, v, as_float((uint32_t)reason[i] << 16), lam_v, lam_r));
    }
    return lost || !mmreflect_is_finite((const unsigned char *)(out + done), BF16, count - done);
}

/* Write base + (lam_v (vlm - base) + lam_r (reason - base)), or lam_v vlm + lam_r reason, rounded to a dtype.
 * Return 0, or NOT_FINITE where one of them is infinite or NaN then. */
int mmreflect_combine(int form, const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                      const unsigned char *reason, int reason_code, int64_t count, float lam_v, float lam_r,
                      unsigned char *out, int out_code)
{
    float b[CHUNK], v[CHUNK], r[CHUNK];
    if (form == MIX && base_code == BF16 && vlm_code == BF16 && reason_code == BF16 && out_code == BF16)
        return mix_brain((const any16 *)base, (const any16 *)vlm, (const any16 *)reason, count, lam_v, lam_r,
                         (any16 *)out) ? NOT_FINITE : 0;
    for (int64_t first = 0; first < count; first += CHUNK) {
        int size = (int)(count - first < CHUNK ? count - first : CHUNK);
        widen(vlm, vlm_code, first, size, v);
        widen(reason, reason_code, first, size, r);
        if (form == MIX) {
            widen(base, base_code, first, size, b);
            for (int i = 0; i < size; i++)
                v[i] = mixed(b[i], v[i], r[i], lam_v, lam_r);
        } else {
            for (int i = 0; i < size; i++)
                v[i] = v[i] * lam_v + r[i] * lam_r;
        }
        narrow(v, out_code, first, size, out);
    }
    return mmreflect_is_finite(out, out_code, count) ? 0 : NOT_FINITE;
}

/* Round values to another dtype. */
void mmreflect_convert(const unsigned char *raw, int code, int64_t count, unsigned char *out, int out_code)
{
    float values[CHUNK];
    for (int64_t first = 0; first < count; first += CHUNK) {
        int size = (int)(count - first < CHUNK ? count - first : CHUNK);
        widen(raw, code, first, size, values);
        narrow(values, out_code, first, size, out);
    }
}

/* Tell whether no value is infinite or NaN. */
int mmreflect_is_finite(const unsigned char *raw, int code, int64_t count)
{
    uint64_t limit = code == BF16 ? 0x7f80 : code == F16 ? 0x7c00 : code == F32 ? 0x7f800000 : 0x7ffull << 52;
    if (code == BF16 || code == F16) {
        uint16_t worst = 0;
        for (int64_t i = 0; i < count; i++) {
            uint16_t size = ((const any16 *)raw)[i] & 0x7fff;
            worst = size > worst ? size : worst;
        }
        return worst < limit;
    }
    if (code == F32) {
        uint32_t worst = 0;
        for (int64_t i = 0; i < count; i++) {
            uint32_t size = as_bits(((const any32 *)raw)[i]) & 0x7fffffff;
            worst = size > worst ? size : worst;
        }
        return worst < limit;
    }
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits;
        memcpy(&bits, raw + 8 * i, 8);
        if ((bits & limit) == limit)
            return 0;
    }
    return 1;
}
