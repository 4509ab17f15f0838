/* The CRC-32 of what is written, as zlib has it. The checksums of a merge are kept shard by shard (checksums.py). */

#include <pthread.h>

#include "kernels.h"
#ifdef __PCLMUL__
#include <immintrin.h>
#endif

/* Add bytes to a CRC-32, one by one; this is for the few that are left over. */
static uint32_t crc_bytes(uint32_t crc, const unsigned char *data, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return crc;
}

#ifdef __PCLMUL__
/* Move 16 bytes forward by the distance that the pair of constants stands for, and add those that lie there. */
static inline __m128i fold(__m128i value, __m128i constants, __m128i there)
{
    __m128i low = _mm_clmulepi64_si128(value, constants, 0x00), high = _mm_clmulepi64_si128(value, constants, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

#if defined(__VPCLMULQDQ__) && defined(__AVX2__)
enum { AT_ONCE = 128 };

static inline __m256i fold_both(__m256i value, __m256i constants, __m256i there)
{
    __m256i low = _mm256_clmulepi64_epi128(value, constants, 0x00);
    __m256i high = _mm256_clmulepi64_epi128(value, constants, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(low, high), there);
}

/* Fold what data holds of AT_ONCE bytes, at least once as many, onto its last ones; return how many bytes that are. */
static int64_t fold_many(const unsigned char *data, int64_t count, uint32_t crc, __m128i *last)
{
    const __m256i by_128 = _mm256_set_epi64x(0x14a7fe880, 0x1e88ef372, 0x14a7fe880, 0x1e88ef372);
    __m256i part[4];
    int64_t first = AT_ONCE;
    for (int i = 0; i < 4; i++)
        part[i] = _mm256_loadu_si256((const __m256i *)data + i);
    part[0] = _mm256_xor_si256(part[0], _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)crc)));
    for (; count - first >= AT_ONCE; first += AT_ONCE)
        for (int i = 0; i < 4; i++)
            part[i] = fold_both(part[i], by_128, _mm256_loadu_si256((const __m256i *)(data + first) + i));
    for (int i = 0; i < 4; i++)
        _mm256_storeu_si256((__m256i *)last + i, part[i]);
    return first;
}
#else
enum { AT_ONCE = 64 };

/* The same with half as many. */
static int64_t fold_many(const unsigned char *data, int64_t count, uint32_t crc, __m128i *last)
{
    const __m128i by_64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    int64_t first = AT_ONCE;
    for (int i = 0; i < 4; i++)
        last[i] = _mm_loadu_si128((const __m128i *)data + i);
    last[0] = _mm_xor_si128(last[0], _mm_cvtsi32_si128((int)crc));
    for (; count - first >= AT_ONCE; first += AT_ONCE)
        for (int i = 0; i < 4; i++)
            last[i] = fold(last[i], by_64, _mm_loadu_si128((const __m128i *)(data + first) + i));
    return first;
}
#endif

/* The CRC-32 of data, going on from the one of what stands before: polynomials are multiplied 64 bits at a time, and
 * AT_ONCE bytes of them folded onto the next (Gopal et al., Fast CRC Computation Using PCLMULQDQ, Intel, 2009). */
uint32_t mmreflect_crc32(const unsigned char *data, int64_t count, uint32_t before)
{
    const __m128i by_16 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0); /* x^(128-32), x^(128+32) modulo the polynomial */
    uint32_t crc = ~before;
    if (count >= AT_ONCE) {
        __m128i part[AT_ONCE / 16], last;
        unsigned char rest[16];
        int64_t folded = fold_many(data, count, crc, part);
        data += folded, count -= folded;
        last = part[0];
        for (int i = 1; i < AT_ONCE / 16; i++)
            last = fold(last, by_16, part[i]);
        for (; count >= 16; data += 16, count -= 16)
            last = fold(last, by_16, _mm_loadu_si128((const __m128i *)data));
        _mm_storeu_si128((__m128i *)rest, last);
        crc = crc_bytes(0, rest, 16);
    }
    return ~crc_bytes(crc, data, count);
}

#else
static uint32_t tables[8][256];

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        unsigned char one = (unsigned char)byte;
        tables[0][byte] = crc_bytes(0, &one, 1);
    }
    for (int table = 1; table < 8; table++)
        for (int byte = 0; byte < 256; byte++)
            tables[table][byte] = tables[table - 1][byte] >> 8 ^ tables[0][tables[table - 1][byte] & 0xff];
}

/* The same with tables, eight bytes at a time. */
uint32_t mmreflect_crc32(const unsigned char *data, int64_t count, uint32_t before)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint32_t crc = ~before;
    pthread_once(&once, make_tables);
    for (; count >= 8; data += 8, count -= 8) {
        uint32_t next = 0;
        for (int i = 0; i < 8; i++)
            next ^= tables[7 - i][data[i] ^ (i < 4 ? crc >> 8 * i & 0xff : 0)];
        crc = next;
    }
    return ~crc_bytes(crc, data, count);
}
#endif
