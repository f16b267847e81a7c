// SPDX-License-Identifier: GPL-2.0
/*
 * reader [--seconds N] [--seed S]: a device side that tries everything to see a
 * byte that is not its driver's, and says what it could and could not see. As
 * root, with the module loaded.
 *
 * Beside it run a client of its card, whose buffers come and go; another
 * device with its client; and a process that fills memory with a secret
 * wherever pages are given back to: anonymous memory, the page cache, slab
 * objects. The reader knows the secrets and looks for them, page by page.
 *
 * Exit code: 0 if it saw nothing that it must not see, 1 if it did, 2 if it
 * could not even see what it should: then it has proved nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"
#include "hostile.h"

#define BOUNCE		0x1000000ULL
#define OLD		256	/* addresses that are remembered */
#define EXPORTS		16
#define RANDOM_PAGES	500

static struct served s;
static uint64_t hoarded, foreign, own;
static struct rng rng;

static struct {
	unsigned long long pages;
	unsigned long ring_pages;
	unsigned long command_pages;
	unsigned long own_pages;
	unsigned long old_pages;
	unsigned long exported_pages;
	unsigned long random_pages;
	unsigned int refused;
	unsigned int leaks;
} seen;

static void leak(const char *what, uint64_t at)
{
	printf("SEEN: %s, at %llx\n", what, (unsigned long long)at);
	seen.leaks++;
}

enum look { EMPTY, OWN, SOMETHING };

/* One page, in which neither secret may be. */
static enum look look(const volatile uint64_t *words, uint64_t at)
{
	enum look found = EMPTY;
	size_t i;

	seen.pages++;
	for (i = 0; i < PAGE / 8; i++) {
		uint64_t word = words[i];

		if (word == hoarded || word == foreign) {
			leak(word == hoarded ? "memory of another process" :
			     "a buffer of another device", at);
			break;
		}
		if (word == own)
			found = OWN;
		else if (word && found == EMPTY)
			found = SOMETHING;
	}
	return found;
}

static void look_at(const uint8_t *bytes, uint64_t at, uint64_t pages,
		    unsigned long *something)
{
	uint64_t i;

	for (i = 0; i < pages; i++)
		switch (look((const void *)(bytes + i * PAGE), at + i * PAGE)) {
		case EMPTY:
			break;
		case OWN:
			seen.own_pages++;
			break;
		case SOMETHING:
			++*something;
		}
}

/*
 * In the mapping that stays, which has whatever was once put there and not
 * taken away; and in a new one, where each page is asked for again.
 */
static void scan(uint64_t at, uint64_t pages, unsigned long *something)
{
	uint8_t *bytes;

	if (!pages || at + pages * PAGE > s.dev.window_size)
		return;
	look_at(s.dev.window + at, at, pages, something);
	bytes = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED | MAP_NORESERVE,
		     s.dev.memory, at);
	EXPECT(bytes != MAP_FAILED);
	look_at(bytes, at, pages, something);
	munmap(bytes, pages * PAGE);
}

static struct {
	uint64_t at;
	uint64_t pages;
} old[OLD];

/* Where buffers are now is where they will have been. */
static void remember(void)
{
	unsigned long ignored = 0;
	int i;

	for (i = 0; i < VDEV_RESOURCES; i++) {
		struct vdev_resource *res = &s.dev.resources[i];
		uint32_t slot = below(&rng, OLD);

		if (!res->id || below(&rng, 4))
			continue;
		old[slot].at = res->first.addr;
		old[slot].pages = res->size / PAGE;
		scan(old[slot].at, old[slot].pages, &ignored);
	}
}

static int export_range(uint64_t at, uint64_t length)
{
	struct virtio_loopback_range range = { at, length };
	struct virtio_loopback_export args = {
		O_RDONLY | O_CLOEXEC, 1, (uintptr_t)&range, { 0 },
	};

	return ioctl(s.dev.memory, VIRTIO_LOOPBACK_EXPORT_DMABUF, &args);
}

static struct {
	const uint8_t *bytes;
	size_t length;
} exports[EXPORTS];

/* Dma-bufs outlive their buffers. What is in them then is the buffer's still. */
static void use_exports(void)
{
	uint32_t i = below(&rng, EXPORTS);
	uint64_t at = some_buffer(&s.dev);
	size_t k;
	int fd;

	if (exports[i].bytes)
		munmap((void *)exports[i].bytes, exports[i].length);
	exports[i].bytes = NULL;
	/* the smallest that the client makes */
	fd = export_range(at, 4 * PAGE);
	if (fd >= 0) {
		exports[i].bytes = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED,
					fd, 0);
		EXPECT(exports[i].bytes != MAP_FAILED);
		exports[i].length = 4 * PAGE;
		close(fd);
	}
	for (i = 0; i < EXPORTS; i++)
		for (k = 0; exports[i].bytes && k < exports[i].length;
		     k += PAGE, seen.exported_pages++)
			look((void *)(exports[i].bytes + k), k);
}

static void refused(bool yes, const char *what, uint64_t at)
{
	if (yes)
		seen.refused++;
	else
		leak(what, at);
}

/* Whatever is not a buffer cannot be kept, and the kernel reads none of it. */
static void try_to_keep(void)
{
	const uint64_t places[] = {
		0, 0x100000, s.dev.queues[0].info.desc,
		s.dev.queues[1].info.desc, BOUNCE, BOUNCE + 64 * PAGE,
		s.dev.window_size / 2, s.dev.window_size - PAGE,
	};
	uint64_t word;
	struct iovec local = { &word, sizeof(word) }, remote = { 0, 8 };
	int fds[2], mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	unsigned int i;

	EXPECT(mem >= 0 && !pipe(fds));
	for (i = 0; i < sizeof(places) / sizeof(*places); i++) {
		uint8_t *at = s.dev.window + places[i];

		remote.iov_base = at;
		refused(export_range(places[i], PAGE) < 0, "an export",
			places[i]);
		refused(process_vm_readv(getpid(), &local, 1, &remote, 1, 0) <
			0, "process_vm_readv", places[i]);
		refused(vmsplice(fds[1], &remote, 1, 0) < 0, "vmsplice",
			places[i]);
		refused(pread(mem, &word, 8, (off_t)(uintptr_t)at) < 0,
			"/proc/self/mem", places[i]);
		refused(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, s.dev.memory,
			     places[i]) == MAP_FAILED, "MAP_PRIVATE",
			places[i]);
	}
	close(mem);
	close(fds[0]);
	close(fds[1]);
}

/* Draws, with pixels that the reader may see, and frees. */
static void client(uint32_t index)
{
	int card = open_card(index);
	struct dumb shown, more;

	EXPECT(!dumb_create(&shown, card, 1024, 768));
	EXPECT(!dumb_show(&shown, 1024, 768));
	for (;;) {
		size_t i;

		for (i = 0; i < shown.size / 8; i += 16)
			((uint64_t *)shown.pixels)[i] = own;
		dumb_dirty(&shown);
		if (dumb_create(&more, card, 64 + 64 * (i++ % 4), 64))
			continue;
		for (i = 0; i < more.size / 8; i++)
			((uint64_t *)more.pixels)[i] = own;
		/* for a moment, so that it is looked at before it goes */
		usleep(2000);
		dumb_destroy(&more);
		hoard_once(hoarded, 256 * PAGE);
	}
}

static void scan_all(void)
{
	struct virtio_loopback_status st = status_of(&s.dev);
	unsigned long ignored = 0;
	int i;

	scan(0, BOUNCE / PAGE, &seen.ring_pages);
	scan(BOUNCE, st.bounce_pages + 64, &seen.command_pages);
	/* behind the bounce slots are the buffers, the other device's as well */
	scan(BOUNCE + st.bounce_max, 4096, &ignored);
	remember();
	for (i = 0; i < OLD; i++) {
		scan(old[i].at, old[i].pages, &ignored);
		seen.old_pages += old[i].pages;
	}
	for (i = 0; i < RANDOM_PAGES; i++, seen.random_pages++)
		scan(rnd(&rng) % s.dev.window_size & ~(PAGE - 1), 1, &ignored);
	use_exports();
}

/* After the session: not even what could be seen. */
static void scan_after_session(uint64_t sample)
{
	const uint64_t places[] = { s.dev.queues[0].info.desc, BOUNCE, sample };
	unsigned int i, k;

	serve_stop(&s);
	close(s.dev.session);
	for (i = 0; i < 3; i++)
		for (k = 0; k < PAGE; k++)
			if (s.dev.window[places[i] + k]) {
				leak("a page after the session", places[i]);
				break;
			}
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

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	EXPECT(waitpid(pid, NULL, 0) == pid);
}

/* Processes that hold none of our files. */
static void start_client(pid_t *pid, uint32_t index)
{
	*pid = start();
	if (*pid)
		return;
	vdev_close(&s.dev);
	client(index);
}

static volatile int over;

/* Has every buffer in the mapping that stays, as soon as it is there. */
static void *follow(void *arg)
{
	uint64_t last = 0;

	while (!over) {
		int i;

		for (i = 0; i < VDEV_RESOURCES; i++) {
			volatile struct vdev_resource *res =
				&s.dev.resources[i];
			uint64_t at = res->first.addr;

			if (res->id && at > last && at < s.dev.window_size) {
				last = at;
				(void)*(volatile uint8_t *)(s.dev.window + at);
			}
		}
		sched_yield();
	}
	return arg;
}

static int verdict(bool undisturbed)
{
	printf("could see: %lu pages of rings, %lu of commands, responses and tables, %lu of the card's buffers\n",
	       seen.ring_pages, seen.command_pages, seen.own_pages);
	printf("could not see: other memory, another device; looked at %llu pages: %lu at addresses of former buffers, %lu of dma-bufs, %lu at random\n",
	       seen.pages, seen.old_pages, seen.exported_pages,
	       seen.random_pages);
	printf("could not do: %u attempts at a reference or a copy by the kernel\n",
	       seen.refused);
	if (seen.leaks) {
		printf("reader: SEEN %u times what must not be\n", seen.leaks);
		return 1;
	}
	if (!seen.ring_pages || !seen.command_pages || !seen.own_pages ||
	    !seen.old_pages || !seen.exported_pages || !undisturbed) {
		printf("reader: did not see what it should, so this proves nothing\n");
		return 2;
	}
	printf("reader: nothing seen that must not be\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct virtio_loopback_create create;
	struct virtio_gpu_config config;
	pid_t drawer, hoard;
	pthread_t follower;
	struct other other;
	int seconds = 20, i;
	uint64_t seed;
	long long end;
	bool good;

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
		fprintf(stderr, "usage: reader [--seconds N] [--seed S]\n");
		return 2;
	}
	printf("seed %#llx\n", (unsigned long long)seed);
	rng = rng_of(seed, 0);
	hoarded = secret_of(seed);
	foreign = secret_of(seed + 1);
	own = secret_of(seed + 2);
	other_start(&other, foreign);
	hoard = start();
	if (!hoard)
		hoarder(seed, hoarded);
	vdev_defaults(&create, &config, "reader");
	serve_start(&s, &create, true);
	start_client(&drawer, s.dev.index);
	EXPECT(WAIT_FOR(some_buffer(&s.dev), 10000));
	EXPECT(!pthread_create(&follower, NULL, follow, NULL));
	end = now_ms() + seconds * 1000LL;
	while (now_ms() < end && seen.leaks < 10) {
		scan_all();
		try_to_keep();
	}
	over = 1;
	pthread_join(follower, NULL);
	scan_after_session(some_buffer(&s.dev));
	stop(drawer);
	stop(hoard);
	close(s.dev.control);
	good = WAIT_FOR(!parent_exists(s.dev.index), 15000);
	return verdict(other_end(&other) && good);
}
