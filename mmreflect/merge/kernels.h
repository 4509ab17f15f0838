/* What the other files need of kernels.c and guard.c. */

#include <stdint.h>

enum { BF16, F16, F32, F64 };
enum { LANES = 128 };
enum { UNREADABLE = -1, NOT_FINITE = -2 };

void mmreflect_measure(const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                       const unsigned char *reason, int reason_code, int64_t count, double (*lanes)[LANES]);
int mmreflect_combine(int form, const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                      const unsigned char *reason, int reason_code, int64_t count, float lam_v, float lam_r,
                      unsigned char *out, int out_code);
int mmreflect_guarded_combine(int form, const unsigned char *base, int base_code, const unsigned char *vlm,
                              int vlm_code, const unsigned char *reason, int reason_code, int64_t count, float lam_v,
                              float lam_r, unsigned char *out, int out_code);
int mmreflect_is_finite(const unsigned char *raw, int code, int64_t count);
uint32_t mmreflect_crc32(const unsigned char *data, int64_t count, uint32_t before);
