/*
 * Prints the rate of this machine's time stamp counter in kHz, for the kernel's tsc_early_khz=. An emulated machine
 * shows the same counter, but a busy host spoils the kernel's own measurement of it: once it took 474 MHz for 2300,
 * and the guest's clock ran five times too fast.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct sample {
	int64_t nanoseconds;
	uint64_t ticks;
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Clock and counter at the same moment: of many pairs, the one that took the least time to read. */
static struct sample take_sample(void)
{
	struct sample best = { 0, 0 };
	int64_t shortest = INT64_MAX;

	for (int i = 0; i < 1000; i++) {
		int64_t before = now();
		uint64_t ticks = __rdtsc();
		int64_t after = now();

		if (after - before < shortest) {
			shortest = after - before;
			best = (struct sample){ before + (after - before) / 2, ticks };
		}
	}
	return best;
}

int main(void)
{
	const struct timespec pause = { 0, 200000000 };
	struct sample first = take_sample(), second;

	nanosleep(&pause, NULL);
	second = take_sample();
	printf("%.0f\n", (double)(second.ticks - first.ticks) * 1e6 / (double)(second.nanoseconds - first.nanoseconds));
	return 0;
}
