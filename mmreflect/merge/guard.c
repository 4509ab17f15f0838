/* The functions of kernels.c for values that may lie in mapped files. A file that is cut short meanwhile, or a disk that
 * fails, raises SIGBUS in the thread that touches the value; here that ends the call instead of the process.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#include "kernels.h"

static _Thread_local sigjmp_buf *landing;
static struct sigaction before;

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    if (landing)
        siglongjmp(*landing, 1);
    if (before.sa_flags & SA_SIGINFO) /* none of ours */
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    else
        sigaction(SIGBUS, &before, 0); /* it is raised again at once, and ends the process */
}

static void install(void)
{
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, &before);
}

static void begin(sigjmp_buf *here)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    landing = here;
}

/* Return 0 or what the function tells; UNREADABLE where a value could not be had: what was to be computed is of no use. */
int mmreflect_guarded_measure(const unsigned char *base, int base_code, const unsigned char *vlm, int vlm_code,
                              const unsigned char *reason, int reason_code, int64_t count, double (*lanes)[LANES])
{
    sigjmp_buf here;
    if (sigsetjmp(here, 1)) {
        landing = 0;
        return UNREADABLE;
    }
    begin(&here);
    mmreflect_measure(base, base_code, vlm, vlm_code, reason, reason_code, count, lanes);
    landing = 0;
    return 0;
}

int mmreflect_guarded_combine(int form, const unsigned char *base, int base_code, const unsigned char *vlm,
                              int vlm_code, const unsigned char *reason, int reason_code, int64_t count, float lam_v,
                              float lam_r, unsigned char *out, int out_code)
{
    sigjmp_buf here;
    if (sigsetjmp(here, 1)) {
        landing = 0;
        return UNREADABLE;
    }
    begin(&here);
    int told = mmreflect_combine(form, base, base_code, vlm, vlm_code, reason, reason_code, count, lam_v, lam_r, out,
                                 out_code);
    landing = 0;
    return told;
}
