// SPDX-License-Identifier: GPL-2.0
/* See hostile.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "harness.h"
#include "hostile.h"

/* As scripts/lib/warnings.sh. */
#define WARNINGS \
	"WARNING:|BUG:|kernel BUG at|Oops|Call Trace|blocked for more than|" \
	"rcu.*stall|soft lockup|INFO: possible|inconsistent lock state|" \
	"general protection fault|refcount_t:|UBSAN|KASAN|KFENCE:|" \
	"scheduling while atomic|DMA-API:|unreferenced object|drm_WARN"

static int kmsg = -1;
static regex_t warnings;

__thread sigjmp_buf guard;
__thread volatile bool guarded;

static void on_fault(int sig)
{
	if (guarded)
		siglongjmp(guard, 1);
	signal(sig, SIG_DFL);
	raise(sig);
}

void install_guard(void)
{
	struct sigaction act = { .sa_handler = on_fault };

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
}

void kernel_log_open(void)
{
	EXPECT(!regcomp(&warnings, WARNINGS, REG_EXTENDED | REG_NOSUB));
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	EXPECT(kmsg >= 0 && lseek(kmsg, 0, SEEK_END) >= 0);
}

bool kernel_warning(char line[KERNEL_LINE])
{
	ssize_t n;

	for (;;) {
		n = read(kmsg, line, KERNEL_LINE - 1);
		if (n < 0 && errno == EPIPE)
			continue;	/* some were overwritten */
		if (n <= 0)
			return false;
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
		if (!regexec(&warnings, line, 0, NULL, 0))
			return true;
	}
}

uint64_t secret_of(uint64_t seed)
{
	struct rng r = rng_of(seed, 1000);

	return rnd(&r) | 0x8000000000000001ULL;
}

static void fill(uint64_t *words, size_t bytes, uint64_t secret)
{
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		words[i] = secret;
}

static void hoard_anonymous(uint64_t secret, size_t bytes)
{
	uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (words == MAP_FAILED)
		return;
	fill(words, bytes, secret);
	munmap(words, bytes);
}

/*
 * Pages that the kernel cannot move, such as those of pipes, come from where
 * the buffers of cards go back to; those of processes come from elsewhere.
 */
static void hoard_in_pipe(uint64_t secret, size_t bytes)
{
	uint64_t words[512];
	int fds[2];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		return;
	fcntl(fds[1], F_SETPIPE_SZ, bytes);
	fill(words, sizeof(words), secret);
	while (write(fds[1], words, sizeof(words)) > 0)
		;
	close(fds[0]);
	close(fds[1]);
}

/* Each processor has free pages of its own. */
void hoard_once(uint64_t secret, size_t bytes)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu;
	cpu_set_t before, one;

	sched_getaffinity(0, sizeof(before), &before);
	for (cpu = 0; cpu < cpus; cpu++) {
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		hoard_in_pipe(secret, bytes);
		hoard_anonymous(secret, bytes);
	}
	sched_setaffinity(0, sizeof(before), &before);
}

/* Also the page cache, and slab objects of sockets. */
void hoarder(uint64_t seed, uint64_t secret)
{
	struct rng r = rng_of(seed, 200);
	int file = open("/var/tmp/hoard", O_RDWR | O_CREAT | O_TRUNC, 0600);
	static uint64_t words[8192];
	int pair[2], i;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair))
		_exit(1);
	unlink("/var/tmp/hoard");
	fill(words, sizeof(words), secret);
	for (;;) {
		hoard_once(secret, PAGE * (1 + below(&r, 256)));
		for (i = 0; i < 8; i++)
			if (pwrite(file, words, sizeof(words),
				   i * sizeof(words)) < 0)
				break;
		/* as small as commands are, until the socket is full */
		for (i = 0; i < 64; i++)
			if (write(pair[0], words, 64 + below(&r, 64) * 8) < 0)
				break;
		usleep(below(&r, 5000));
		while (read(pair[1], words, sizeof(words)) > 0)
			;
		if (ftruncate(file, 0))
			_exit(1);
	}
}

/* Used entries that are wrong in every way there is. */
static void scribble_used(struct vdev_queue *q, struct rng *r)
{
	struct vring_used_elem *elem;
	int i;

	for (i = 0; i < 8; i++) {
		elem = &q->ring.used->ring[below(r, q->ring.num)];
		elem->id = below(r, 3) ? below(r, q->ring.num) : rnd(r);
		elem->len = rnd(r);
	}
	__atomic_store_n(&q->ring.used->idx, below(r, 5) ?
			 q->ring.used->idx + below(r, 4) : rnd(r),
			 __ATOMIC_RELEASE);
}

void scribble(struct vdev *dev, struct rng *r)
{
	struct vdev_queue *q = &dev->queues[below(r, VDEV_QUEUES)];
	struct virtio_loopback_status st;
	uint64_t one = 1;
	int i;

	if (!q->ring.num || ioctl(dev->session, VIRTIO_LOOPBACK_STATUS, &st))
		return;
	for (i = 0; i < 200; i++) {
		uint8_t *at = dev->window;

		switch (below(r, 8)) {
		case 0:
			at += some_buffer(dev);
			break;
		case 1 ... 3:
			at += q->info.desc + below(r, 0x8000);
			break;
		default:
			at += 0x1000000;
			if (st.bounce_pages)
				at += rnd(r) % (PAGE * st.bounce_pages);
		}
		*at = rnd(r);
	}
	if (!below(r, 4))
		scribble_used(q, r);
	if (write(q->call, &one, sizeof(one)) != sizeof(one))
		perror("call");
}

/* A client of @index whose pixels are @word and stay so. Ends at SIGTERM. */
static volatile int told;

static void on_term(int sig)
{
	(void)sig;
	told = 1;
}

static bool all_are(const uint64_t *words, size_t bytes, uint64_t word)
{
	size_t i;

	for (i = 0; i < bytes / 8; i++)
		if (words[i] != word)
			return false;
	return true;
}

static void other_client(uint32_t index, uint64_t word)
{
	int card = open_card(index);
	struct dumb shown, more;

	signal(SIGTERM, on_term);
	EXPECT(!dumb_create(&shown, card, 1024, 768));
	fill((uint64_t *)shown.pixels, shown.size, word);
	EXPECT(!dumb_show(&shown, 1024, 768));
	while (!told) {
		EXPECT(!dumb_dirty(&shown));
		EXPECT(!dumb_create(&more, card, 128, 128));
		fill((uint64_t *)more.pixels, more.size, word);
		EXPECT(all_are((uint64_t *)shown.pixels, shown.size, word));
		EXPECT(all_are((uint64_t *)more.pixels, more.size, word));
		dumb_destroy(&more);
	}
	dumb_destroy(&shown);
	close(card);
	_exit(0);
}

static void other_server(int to)
{
	static struct served s;
	struct virtio_loopback_create create;
	struct virtio_gpu_config config;

	vdev_defaults(&create, &config, "other");
	serve_start(&s, &create, true);
	EXPECT(write(to, &s.dev.index, 4) == 4);
	pause();
}

void other_start(struct other *other, uint64_t word)
{
	int fds[2];

	EXPECT(!pipe(fds));
	fflush(NULL);
	other->server = fork();
	if (!other->server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		other_server(fds[1]);
		_exit(1);
	}
	EXPECT(read(fds[0], &other->index, 4) == 4);
	close(fds[0]);
	close(fds[1]);
	other->client = fork();
	if (!other->client) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		other_client(other->index, word);
	}
}

bool other_end(struct other *other)
{
	int status = -1;
	bool good;

	kill(other->client, SIGTERM);
	good = WAIT_FOR(waitpid(other->client, &status, WNOHANG) ==
			other->client, 10000);
	good = good && WIFEXITED(status) && !WEXITSTATUS(status);
	kill(other->client, SIGKILL);
	kill(other->server, SIGKILL);
	return WAIT_FOR(waitpid(other->server, &status, WNOHANG) ==
			other->server, 10000) &&
	       WAIT_FOR(!parent_exists(other->index), 15000) && good;
}
