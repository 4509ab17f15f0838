/* The second half of a merge in one go: a share of the values is combined, checked, added to the CRC-32 and written
 * while it is in the nearest cache.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "kernels.h"

enum { SHARE = 1 << 18, PAGE = 4096 };

static int write_all(int handle, const unsigned char *data, int64_t size, int64_t place)
{
    while (size) {
        ssize_t written = pwrite(handle, data, (size_t)size, place);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written ? errno : EIO;
        data += written, size -= written, place += written;
    }
    return 0;
}

/* Combine values as mmreflect_combine, and write them to `place` of a file; `room` has SHARE + 2 PAGE bytes.
 *
 * Return 0 and the CRC-32; UNREADABLE where a mapped value could not be had, NOT_FINITE where a merged value is none
 * that may be written (what stood before it is written then), or the system's number of what went wrong in writing.
 *
 * Shares end at pages of the file, and lie in `room` as they will lie in a page: some processors copy to an address a
 * little above that of the source, modulo the page, five times more slowly.
 */
int mmreflect_finish(int form, const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                     const unsigned char *reason, int reason_code, int64_t count, float lam_v, float lam_r,
                     int out_code, int handle, int64_t place, unsigned char *room, uint32_t *crc)
{
    static const int items[] = {[BF16] = 2, [F16] = 2, [F32] = 4, [F64] = 8};
    int item = items[out_code];
    *crc = 0;
    for (int64_t first = 0; first < count;) {
        int64_t size = (SHARE - place % PAGE) / item;
        size = size < count - first ? size : count - first;
        unsigned char *out = room + (place - (int64_t)(uintptr_t)room) % PAGE;
        out += out < room ? PAGE : 0;
        int failed = mmreflect_guarded_combine(form, base ? base + first * items[base_code] : 0, base_code,
                                               vlm + first * items[vlm_code], vlm_code,
                                               reason + first * items[reason_code], reason_code, size, lam_v, lam_r,
                                               out, out_code);
        if (failed)
            return failed;
        *crc = mmreflect_crc32(out, size * item, *crc);
        failed = write_all(handle, out, size * item, place);
        if (failed)
            return failed;
        first += size, place += size * item;
    }
    return 0;
}
