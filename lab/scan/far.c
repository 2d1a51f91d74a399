// SPDX-License-Identifier: GPL-2.0
/* Owns the far end of the scan lab: loads the XDP programs, attaches one to an interface, and does what standard
 * input says, a command a line. Each is answered by a line: numbers separated by blanks, or "error: …".
 *
 *   far OBJECT INTERFACE        run in the namespace of the targets; ends with its standard input
 *
 *   mode respond|sink|blackhole|off
 *   set KEY=NUMBER...           fields of struct far_config
 *   track HOSTS PORTS           exactly-once bitmap from `network` on; ports as 22,80,1000-2000; HOSTS 0: off
 *   reset                       zero counters, timeline, bitmap
 *   rewind                      zero the timeline only
 *   counters                    the counters in order, then first and last arrival in ns
 *   timeline MS                 arrivals per MS milliseconds from the first arrival to the last
 *   covered                     tracked, probed
 *   missing N                   the first N pairs never probed, as address port address port...
 *   chatter on|off              a broadcast datagram each 50 ms, as any real segment has
 *   flood PPS SECONDS ADDRESS PORT PORTS MAC MAC    forged replies to ADDRESS and these ports; MACs of target and self
 *   flooded                     ends the flood: how many were sent
 *
 * Nothing is pinned and nothing is left in the file system: all of it ends with this process and its namespace.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "far.h"

static struct bpf_object *object;
static const char *interface;
static unsigned ifindex;

/* The maps, mapped. */
static struct far_config *config;
static struct far_flood *flood_state;
static __u64 *timeline, *times, *seen, *port_row; /* arrays of 64 bits: the kernel rounds elements up to that */
static int counters;

static void die(const char *what)
{
    printf("error: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static int refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("error: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    return 0;
}

static void *map_of(const char *name, size_t bytes)
{
    int fd = bpf_object__find_map_fd_by_name(object, name);
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        die(name);
    return at;
}

static void load(const char *path)
{
    object = bpf_object__open_file(path, NULL);
    if (!object || bpf_object__load(object))
        die(path);
    config = map_of("config", sizeof *config);
    flood_state = map_of("flood", sizeof *flood_state);
    timeline = map_of("timeline", FAR_BUCKETS * sizeof *timeline);
    times = map_of("times", 3 * sizeof *times);
    seen = map_of("seen", FAR_WORDS * sizeof *seen);
    port_row = map_of("port_row", 65536 * sizeof *port_row);
    counters = bpf_object__find_map_fd_by_name(object, "counters");
    *config = (struct far_config){
        .network = 0x0a000000, .mask = 0xff000000, .live_ppm = FAR_MILLION, .port_high = 65535, .bucket_ns = 1000000,
    };
}

static int program(const char *name)
{
    struct bpf_program *found = bpf_object__find_program_by_name(object, name);
    return found ? bpf_program__fd(found) : -1;
}

/* ---- commands ------------------------------------------------------------------------------------------------ */

static int mode(const char *name)
{
    char full[32];
    snprintf(full, sizeof full, "far_%s", name);
    int off = !strcmp(name, "off"), fd = off ? -1 : program(full);
    if (!off && fd < 0)
        return refuse("there is no mode %s", name);
    int failed = bpf_xdp_attach(ifindex, fd, XDP_FLAGS_DRV_MODE, NULL);
    return failed ? refuse("cannot attach %s: %s", name, strerror(-failed)) : 1;
}

#define KEY(field) { #field, offsetof(struct far_config, field) }
static const struct { const char *name; size_t at; } keys[] = {
    KEY(network), KEY(mask), KEY(seed), KEY(open_ppm), KEY(live_ppm), KEY(probe_loss_ppm), KEY(reply_loss_ppm),
    KEY(closed), KEY(port_low), KEY(port_high), KEY(bucket_ns), KEY(link_gap_ns), KEY(link_queue_ns),
};
static const struct { const char *name; unsigned bit; } switches[] = {
    { "verify", FAR_VERIFY }, { "timeline", FAR_TIMELINE },
};

static int set(char *words)
{
    struct far_config next = *config;
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
        char *value = strchr(word, '=');
        int known = 0;
        if (!value)
            return refuse("%s has no value", word);
        *value++ = 0;
        unsigned number = strtoul(value, NULL, 0);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            if (!strcmp(keys[i].name, word))
                *(unsigned *)((char *)&next + keys[i].at) = number, known = 1;
        for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
            if (!strcmp(switches[i].name, word))
                next.flags = number ? next.flags | switches[i].bit : next.flags & ~switches[i].bit, known = 1;
        if (!known)
            return refuse("there is no setting %s", word);
    }
    *config = next;
    return 1;
}

static int track(char *words)
{
    static unsigned char wanted[65536];
    memset(wanted, 0, sizeof wanted);
    char *at = words;
    unsigned long hosts = strtoul(words, &at, 10), ports = 0;
    while (hosts && *at) {
        char *end;
        unsigned long low = strtoul(at + 1, &end, 10), high = low;
        if (end == at + 1)
            return refuse("bad port list %s", words);
        if (*end == '-')
            high = strtoul(end + 1, &end, 10);
        for (unsigned long port = low; port <= high && port < 65536; port++)
            ports += !wanted[port], wanted[port] = 1;
        at = end;
    }
    if (hosts * ports > 64ull * FAR_WORDS)
        return refuse("%lu hosts of %lu ports are too many to track", hosts, ports);
    for (unsigned port = 0, row = 0; port < 65536; port++)
        port_row[port] = wanted[port] ? row++ : FAR_UNTRACKED_PORT;
    config->tracked_hosts = hosts;
    config->tracked_ports = ports;
    config->flags = ports ? config->flags | FAR_TRACK : config->flags & ~FAR_TRACK;
    return 1;
}

static int rewind_timeline(void)
{
    memset(timeline, 0, FAR_BUCKETS * sizeof *timeline);
    memset(times, 0, 3 * sizeof *times);
    return 1;
}

static int reset(void)
{
    int cpus = libbpf_num_possible_cpus();
    __u64 zeros[cpus];
    memset(zeros, 0, sizeof zeros);
    for (__u32 i = 0; i < FAR_COUNTERS; i++)
        bpf_map_update_elem(counters, &i, zeros, 0);
    memset(seen, 0, FAR_WORDS * sizeof *seen);
    return rewind_timeline();
}

static int print_counters(void)
{
    int cpus = libbpf_num_possible_cpus();
    __u64 values[cpus];
    for (__u32 i = 0; i < FAR_COUNTERS; i++) {
        __u64 sum = 0;
        if (bpf_map_lookup_elem(counters, &i, values))
            return refuse("cannot read counter %u", i);
        for (int cpu = 0; cpu < cpus; cpu++)
            sum += values[cpu];
        printf("%llu ", sum);
    }
    printf("%llu %llu\n", times[0], times[1]);
    return 0;
}

static int print_timeline(unsigned ms)
{
    unsigned per = ms * 1000000ull / config->bucket_ns;
    if (!per || !times[0])
        return printf("\n"), 0;
    unsigned last = (times[1] - times[0]) / config->bucket_ns;
    for (unsigned from = 0; from <= last && from < FAR_BUCKETS; from += per) {
        __u64 sum = 0;
        for (unsigned i = from; i < from + per && i < FAR_BUCKETS; i++)
            sum += timeline[i];
        printf("%llu ", sum);
    }
    printf("\n");
    return 0;
}

static int print_covered(void)
{
    __u64 total = (__u64)config->tracked_hosts * config->tracked_ports, probed = 0;
    for (__u64 word = 0; word < FAR_WORDS; word++)
        probed += __builtin_popcountll(seen[word]);
    printf("%llu %llu\n", total, probed);
    return 0;
}

static int print_missing(unsigned long most)
{
    static unsigned port_of[65536];
    for (unsigned port = 0; port < 65536; port++)
        if (port_row[port] < config->tracked_ports)
            port_of[port_row[port]] = port;
    __u64 total = (__u64)config->tracked_hosts * config->tracked_ports;
    for (__u64 bit = 0; bit < total && most; bit++) {
        if (seen[bit >> 6] >> (bit & 63) & 1)
            continue;
        printf("%llu %u ", config->network + bit / config->tracked_ports, port_of[bit % config->tracked_ports]);
        most--;
    }
    printf("\n");
    return 0;
}

/* ---- chatter ------------------------------------------------------------------------------------------------- */

static volatile int chatting;

/* masscan ends only when packets arrive after its last answer; every real segment has some. */
static void *chat(void *unused)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
    struct ifreq request = { 0 };
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
    if (s < 0 || setsockopt(s, SOL_SOCKET, SO_BROADCAST, &one, sizeof one) || ioctl(s, SIOCGIFBRDADDR, &request))
        return unused;
    to.sin_addr = ((struct sockaddr_in *)&request.ifr_broadaddr)->sin_addr;
    for (;;) {
        if (chatting)
            sendto(s, "chatter", 7, 0, (void *)&to, sizeof to);
        usleep(50000);
    }
}

static int chatter(const char *word)
{
    static int started;
    pthread_t thread;
    chatting = !strcmp(word, "on");
    if (chatting && !started)
        started = pthread_create(&thread, NULL, chat, NULL) == 0;
    return 1;
}

/* ---- forged replies ------------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static volatile int flooding;
static double flood_seconds;

static void *flood_loop(void *unused)
{
    unsigned char frame[FAR_FLOOD_FRAME] = { 0 };
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof frame, .repeat = 1 << 18,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
    double end = now() + flood_seconds;
    while (flooding && now() < end)
        if (bpf_prog_test_run_opts(program("far_flood"), &options))
            break;
    flooding = 0;
    return unused;
}

static int hardware(const char *text, __u8 *to)
{
    unsigned b[6];
    if (sscanf(text, "%x:%x:%x:%x:%x:%x", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6)
        return 0;
    for (int i = 0; i < 6; i++)
        to[i] = b[i];
    return 1;
}

static int flood(char *words)
{
    char address[32], to_mac[32], from_mac[32];
    unsigned pps, port, ports;
    struct in_addr to;
    if (sscanf(words, "%u %lf %31s %u %u %31s %31s", &pps, &flood_seconds, address, &port, &ports, to_mac, from_mac) != 7)
        return refuse("flood needs PPS SECONDS ADDRESS PORT PORTS MAC MAC");
    struct far_flood next = { .ifindex = ifindex, .port_low = port, .ports = ports };
    if (flooding || !pps || !ports || !inet_aton(address, &to) || !hardware(to_mac, next.head) ||
        !hardware(from_mac, next.head + 6))
        return refuse("cannot start the flood %s", words);
    next.to = ntohl(to.s_addr);
    next.gap_q16 = (1000000000ull << 16) / pps;
    next.head[12] = 8; /* IPv4 */
    *flood_state = next;
    flooding = 1;
    pthread_t thread;
    if (pthread_create(&thread, NULL, flood_loop, NULL))
        return refuse("cannot start a thread");
    pthread_detach(thread);
    return 1;
}

static int flooded(void)
{
    flooding = 0;
    usleep(1000);
    printf("%llu\n", flood_state->sent);
    return 0;
}

/* Returns whether "ok" is still to be said. */
static int obey(char *line)
{
    char *rest = strchr(line, ' ');
    if (rest)
        *rest++ = 0;
    else
        rest = line + strlen(line);
    if (!strcmp(line, "mode")) return mode(rest);
    if (!strcmp(line, "set")) return set(rest);
    if (!strcmp(line, "track")) return track(rest);
    if (!strcmp(line, "reset")) return reset();
    if (!strcmp(line, "rewind")) return rewind_timeline();
    if (!strcmp(line, "counters")) return print_counters();
    if (!strcmp(line, "timeline")) return print_timeline(strtoul(rest, NULL, 10));
    if (!strcmp(line, "covered")) return print_covered();
    if (!strcmp(line, "missing")) return print_missing(strtoul(rest, NULL, 10));
    if (!strcmp(line, "chatter")) return chatter(rest);
    if (!strcmp(line, "flood")) return flood(rest);
    if (!strcmp(line, "flooded")) return flooded();
    return refuse("there is no command %s", line);
}

int main(int words, char **word)
{
    if (words != 3)
        return fprintf(stderr, "usage: far OBJECT INTERFACE\n"), 2;
    struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };
    setrlimit(RLIMIT_MEMLOCK, &no_limit);
    interface = word[2];
    ifindex = if_nametoindex(interface);
    if (!ifindex)
        die(interface);
    load(word[1]);
    reset();
    printf("ok\n");
    fflush(stdout);
    static char line[1 << 16];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (obey(line))
            printf("ok\n");
        fflush(stdout);
    }
    return 0;
}
