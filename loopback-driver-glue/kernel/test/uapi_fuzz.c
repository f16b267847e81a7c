// SPDX-License-Identifier: GPL-2.0
/*
 * uapi_fuzz [--seconds N] [--seed S] [--rounds N]
 *
 * Random sequences of all calls of the module, by several threads on the same
 * files, under the real virtio_gpu with clients that draw. As root, with the
 * module loaded. It runs rounds of about five seconds, each from a seed of its
 * own. After each:
 *   - no page was seen in a window that was not the device's to see
 *   - the process with the files, then the clients, ended when told to
 *   - all devices have gone within 20 s
 *   - the kernel has logged no warning
 * At the end the module can be removed, and is loaded again. Exit code 0 if all
 * of this held. "--rounds 1 --seed S" repeats the round that was told with S,
 * as far as threads can be made to repeat anything.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "harness.h"
#include "fuzz.h"

#define ROUND_MS	5000
#define CLIENTS		3

struct shared *shared;

static unsigned int findings;

static void finding(uint64_t seed, const char *what)
{
	printf("\nFINDING, seed %#llx: %s\n", (unsigned long long)seed, what);
	findings++;
}

static void check_log(uint64_t seed)
{
	char line[KERNEL_LINE];

	while (kernel_warning(line))
		finding(seed, line);
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

static bool ended(pid_t pid, int ms, int *status)
{
	return WAIT_FOR(waitpid(pid, status, WNOHANG) == pid, ms);
}

static void end(uint64_t seed, pid_t pid, const char *what)
{
	char text[64], wchan[64] = "", path[32];
	FILE *file;
	int status;

	kill(pid, SIGKILL);
	if (ended(pid, 15000, &status))
		return;
	snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
	file = fopen(path, "r");
	if (file && !fgets(wchan, sizeof(wchan), file))
		wchan[0] = 0;
	snprintf(text, sizeof(text), "%s does not end: state %c, %.30s", what,
		 process_state(pid), wchan);
	finding(seed, text);
}

/*
 * A device that stays, and is served: the slab cache of virtio_gpu then stays,
 * too, see docs/uapi.md. And it looks at the buffers of its clients.
 */
static pid_t start_keeper(uint32_t *index)
{
	static struct served s;
	static struct recent recent;
	struct virtio_loopback_create create;
	struct virtio_gpu_config config;
	struct rng r = rng_of(0, 400);
	int fds[2];
	pid_t pid;

	EXPECT(!pipe(fds));
	pid = start();
	if (!pid) {
		vdev_defaults(&create, &config, "keeper");
		serve_start(&s, &create, true);
		EXPECT(write(fds[1], &s.dev.index, 4) == 4);
		install_guard();
		for (;;) {
			note_buffer(&recent, &s.dev, &r);
			look_at_buffer(&recent, &s.dev, &r);
			usleep(200);
		}
	}
	EXPECT(read(fds[0], index, 4) == 4);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

static void run_round(uint64_t seed, uint32_t keeper)
{
	struct rng r = rng_of(seed, 999);
	pid_t round, clients[CLIENTS + 1], pid;
	int n = 0, status = 0, i;
	/* a driver is not taken away by hand while somebody draws */
	bool draw = below(&r, 4);

	for (i = 0; i < GATES; i++) {
		struct gate *gate = &shared->gates[i];

		atomic_store(&gate->keeper, (uint32_t)i == keeper);
		atomic_store(&gate->open, (uint32_t)i == keeper);
		atomic_store(&gate->inside, 0);
	}
	printf("seed %#llx: ", (unsigned long long)seed);
	round = start();
	if (!round)
		fuzz_round(seed, ROUND_MS);
	for (i = 0; i < CLIENTS; i++) {
		pid = start();
		if (!pid && draw)
			drawing_client(seed + i);
		if (!pid && !i)
			binder(seed, keeper);
		if (!pid)
			_exit(0);
		clients[n++] = pid;
	}
	pid = start();
	if (!pid)
		hoarder(seed, shared->secret);
	clients[n++] = pid;

	if (!ended(round, ROUND_MS + 30000, &status))
		end(seed, round, "the process with the files");
	else if (!WIFEXITED(status) || WEXITSTATUS(status))
		printf("(status %x) ", status);
	for (i = 0; i < n; i++)
		end(seed, clients[i], "a client");
	if (!WAIT_FOR(count_parents() <= 1, 20000))
		finding(seed, "a device is left");
	if (atomic_exchange(&shared->seen, 0))
		finding(seed, "a page was seen that must not be");
	check_log(seed);
	printf("\n");
}

static long module_refs(void)
{
	FILE *file = fopen("/sys/module/virtio_loopback/refcnt", "r");
	long refs = -1;

	if (file) {
		if (fscanf(file, "%ld", &refs) != 1)
			refs = -1;
		fclose(file);
	}
	return refs;
}

static void unload(uint64_t seed)
{
	if (!WAIT_FOR(!count_parents(), 20000))
		finding(seed, "a device is left at the end");
	if (!WAIT_FOR(module_refs() == 0, 10000))
		finding(seed, "somebody still has the module");
	else if (syscall(SYS_delete_module, "virtio_loopback", O_NONBLOCK))
		finding(seed, "the module cannot be removed");
	else if (system("modprobe virtio_loopback"))
		finding(seed, "the module cannot be loaded again");
	check_log(seed);
}

int main(int argc, char **argv)
{
	long long seconds = 60, rounds = 1LL << 40, done = 0, until;
	uint64_t seed;
	uint32_t keeper;
	pid_t pid;
	int i;

	EXPECT(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seconds"))
			seconds = atoll(argv[i + 1]);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--rounds"))
			rounds = atoll(argv[i + 1]);
		else
			break;
	}
	if (i != argc) {
		fprintf(stderr, "usage: uapi_fuzz [--seconds N] [--seed S] [--rounds N]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	kernel_log_open();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(shared != MAP_FAILED);
	shared->secret = secret_of(seed);
	if (system("modprobe vgem"))
		printf("no vgem: dma-bufs are not imported\n");
	pid = start_keeper(&keeper);
	until = now_ms() + seconds * 1000;
	for (; done < rounds && now_ms() < until && findings < 5; done++) {
		struct rng r = rng_of(seed, 0);

		run_round(seed, keeper);
		seed = rnd(&r);
	}
	end(seed, pid, "the keeper");
	unload(seed);
	printf("%lld rounds, %u findings\n", done, findings);
	return findings != 0;
}
