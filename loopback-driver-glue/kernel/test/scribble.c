// SPDX-License-Identifier: GPL-2.0
/*
 * scribble [--seconds N] [--seed S]: a device side that writes nonsense into
 * every page and descriptor it can reach, while a client draws. As root, with
 * the module loaded.
 *
 * What must hold: the kernel has nothing to say; other processes' memory,
 * another device and its client are as they were; the client can be ended, and
 * the device goes away. Exit code: 0 if so, 1 if not, 2 if the module had
 * nothing to refuse: then this has proved nothing.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "harness.h"
#include "hostile.h"

#define THREADS	3
#define BYSTANDER_BYTES	(8 << 20)

static struct served s;
static struct rng rngs[THREADS];
static volatile int over;
static unsigned int wrong;

static void check(bool holds, const char *what)
{
	printf("%s: %s\n", holds ? "yes" : "NO", what);
	wrong += !holds;
}

static void *scribbler(void *arg)
{
	unsigned long *times = calloc(1, sizeof(*times));

	while (times && !over) {
		scribble(&s.dev, arg);
		++*times;
	}
	return times;
}

/* Draws whatever comes of it. */
static void client(uint32_t index)
{
	struct dumb d, more;
	bool shown;
	int card;

	/* or the device would live as long as its client */
	vdev_close(&s.dev);
	card = open_card(index);
	if (card < 0 || dumb_create(&d, card, 1024, 768))
		_exit(1);
	shown = !dumb_show(&d, 1024, 768);
	for (;;) {
		d.pixels[0]++;
		if (shown)
			dumb_dirty(&d);
		if (!dumb_create(&more, card, 64, 64))
			dumb_destroy(&more);
	}
}

/* Memory of somebody who has nothing to do with any of this. */
static void bystander(void)
{
	uint32_t *words = mmap(NULL, BYSTANDER_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	EXPECT(words != MAP_FAILED);
	fill_pattern(words, BYSTANDER_BYTES, 99);
	sigwait(&set, &sig);
	_exit(!has_pattern(words, BYSTANDER_BYTES, 99));
}

static pid_t start(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	EXPECT(pid >= 0);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static bool ends_well(pid_t pid, int sig)
{
	int status = -1;

	kill(pid, sig);
	if (!WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid, 10000))
		return false;
	return sig == SIGKILL || (WIFEXITED(status) && !WEXITSTATUS(status));
}

static unsigned long scribble_for(int seconds, uint64_t seed)
{
	pthread_t threads[THREADS];
	unsigned long total = 0;
	int i;

	for (i = 0; i < THREADS; i++) {
		rngs[i] = rng_of(seed, i);
		EXPECT(!pthread_create(&threads[i], NULL, scribbler, &rngs[i]));
	}
	sleep(seconds);
	over = 1;
	for (i = 0; i < THREADS; i++) {
		void *times;

		pthread_join(threads[i], &times);
		total += times ? *(unsigned long *)times : 0;
		free(times);
	}
	return total;
}

int main(int argc, char **argv)
{
	struct virtio_loopback_create create;
	struct virtio_gpu_config config;
	struct virtio_loopback_status st;
	char line[KERNEL_LINE];
	pid_t drawer, nobody;
	struct other other;
	unsigned long writes;
	int seconds = 10, i;
	uint64_t seed;

	EXPECT(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seconds"))
			seconds = atoi(argv[i + 1]);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else
			break;
	}
	if (i != argc) {
		fprintf(stderr, "usage: scribble [--seconds N] [--seed S]\n");
		return 2;
	}
	printf("seed %#llx\n", (unsigned long long)seed);
	kernel_log_open();
	install_guard();
	other_start(&other, secret_of(seed));
	nobody = start();
	if (!nobody)
		bystander();
	vdev_defaults(&create, &config, "scribble");
	serve_start(&s, &create, true);
	drawer = start();
	if (!drawer)
		client(s.dev.index);
	EXPECT(WAIT_FOR(some_buffer(&s.dev), 10000));
	writes = 200 * scribble_for(seconds, seed);
	st = status_of(&s.dev);
	printf("%lu bytes written; the module refused %llu used buffers, cut %llu lengths and %llu values\n",
	       writes, (unsigned long long)st.bad_used,
	       (unsigned long long)st.clamped_used,
	       (unsigned long long)st.filtered_values);
	serve_stop(&s);
	vdev_detach(&s.dev);
	/* the null device answers it; and see docs/uapi.md on unplugging */
	check(ends_well(drawer, SIGKILL), "its client ended when it was told to");
	close(s.dev.control);
	check(WAIT_FOR(!parent_exists(s.dev.index), 15000),
	      "the device went away");
	check(ends_well(nobody, SIGTERM), "memory of a bystander is as it was");
	check(other_end(&other), "another device and its client are as they were");
	for (i = 0; kernel_warning(line); i++)
		printf("%s\n", line);
	check(!i, "the kernel had nothing to say");
	if (wrong) {
		printf("scribble: %u promises broken\n", wrong);
		return 1;
	}
	if (!writes || !st.bad_used) {
		printf("scribble: the module had nothing to refuse, so this proves nothing\n");
		return 2;
	}
	printf("scribble: nothing broken\n");
	return 0;
}
