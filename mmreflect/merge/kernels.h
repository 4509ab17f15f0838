/* What guard.c needs of kernels.c. */

#include <stdint.h>

enum { LANES = 128 };

void mmreflect_measure(const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                       const unsigned char *reason, int reason_code, int64_t count, double (*lanes)[LANES]);
void mmreflect_combine(int form, const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                       const unsigned char *reason, int reason_code, int64_t count, float lam_v, float lam_r,
                       unsigned char *out, int out_code);
