// SPDX-License-Identifier: GPL-2.0
/* Runs bare.bpf.c until it is killed.
 *
 *   bare OBJECT INTERFACE THREADS WORK SOURCE NETWORK HOST_MASK MAC_TO MAC_FROM
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "bare.h"

#define FRAME 54
static int program;
static unsigned char template[FRAME];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static __u32 sum(const unsigned char *from, int words)
{
    __u32 total = 0;
    __u16 word;
    for (int i = 0; i < words; i++) {
        memcpy(&word, from + 2 * i, 2);
        total += word;
    }
    return total;
}

static void *run(void *argument)
{
    int thread = (long)argument;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(thread % sysconf(_SC_NPROCESSORS_ONLN), &cpus);
    pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    unsigned char frame[FRAME];
    memcpy(frame, template, FRAME);
    frame[11] = thread;
    /* Setting a run up costs milliseconds, so each is long; 64 frames at a time is what veth's ring takes. */
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = FRAME, .repeat = 1 << 21,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
    while (!bpf_prog_test_run_opts(program, &options))
        ;
    die("BPF_PROG_TEST_RUN");
    return NULL;
}

static void read_mac(const char *text, unsigned char *to)
{
    if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", to, to + 1, to + 2, to + 3, to + 4, to + 5) != 6)
        die(text);
}

int main(int words, char **word)
{
    if (words != 10)
        return fprintf(stderr, "usage: see the head of bare.c\n"), 2;
    struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };
    setrlimit(RLIMIT_MEMLOCK, &no_limit);
    struct bpf_object *object = bpf_object__open_file(word[1], NULL);
    if (!object || bpf_object__load(object))
        die(word[1]);
    program = bpf_program__fd(bpf_object__find_program_by_name(object, "bare_send"));
    int threads = atoi(word[3]), map = bpf_object__find_map_fd_by_name(object, "bares");
    unsigned char *ip = template + 14, *tcp = template + 34;
    read_mac(word[8], template);
    read_mac(word[9], template + 6);
    template[12] = 8;
    ip[0] = 0x45; ip[3] = 40; ip[6] = 0x40; ip[8] = 64; ip[9] = 6;
    inet_pton(AF_INET, word[5], ip + 12);
    tcp[0] = 0x9c; tcp[1] = 0x40; tcp[12] = 5 << 4; tcp[13] = 2; tcp[14] = 4;
    struct in_addr network;
    inet_aton(word[6], &network);
    struct bare bare = {
        .k0 = 0x0123456789abcdefULL, .k1 = 0xfedcba9876543210ULL, .network = ntohl(network.s_addr),
        .host_mask = strtoul(word[7], NULL, 0), .ifindex = if_nametoindex(word[2]), .work = atoi(word[4]),
        .ip_sum = sum(ip, 10), .tcp_sum = sum(ip + 12, 4) + htons(6) + htons(20) + sum(tcp, 10),
    };
    if (!bare.ifindex || threads < 1 || threads > BARE_THREADS)
        die(word[2]);
    for (__u32 i = 0; i < (__u32)threads; i++) {
        pthread_t thread;
        bare.next = (__u64)i << 32;
        if (bpf_map_update_elem(map, &i, &bare, 0) || pthread_create(&thread, NULL, run, (void *)(long)i))
            die("thread");
    }
    pause();
    return 0;
}
