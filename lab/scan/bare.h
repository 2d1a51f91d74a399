/* Shared by bare.bpf.c and bare.c. */
#ifndef BARE_H
#define BARE_H

#include <linux/types.h>

#define BARE_THREADS 16

/* One sending thread; the last byte of its frames' source address says which. */
struct bare {
    __u64 next;
    __u64 k0, k1;
    __u32 network, host_mask;
    __u32 ifindex, work;
    __u32 ip_sum, tcp_sum;  /* of the constant fields */
    __u64 room[2];          /* a cache line each */
};
#endif
