// SPDX-License-Identifier: GPL-2.0
/* The hand-written limit: the least that a sender of probes inside the kernel can do. Run in live-frame mode it gets one
 * recycled frame after another, writes the varying fields, and redirects it to the device.
 *
 *   work 0: the next address, one port, a fixed sequence number
 *   work 1: a four-round Feistel permutation of address and port, and a SipHash-1-3 cookie
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "bare.h"

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, BARE_THREADS); __uint(map_flags, BPF_F_MMAPABLE);
         __type(key, __u32); __type(value, struct bare); } bares SEC(".maps");

#define INLINE static __always_inline
#define ROTATE(x, by) (((x) << (by)) | ((x) >> (64 - (by))))
#define ROUND do { \
    v0 += v1; v1 = ROTATE(v1, 13); v1 ^= v0; v0 = ROTATE(v0, 32); \
    v2 += v3; v3 = ROTATE(v3, 16); v3 ^= v2; \
    v0 += v3; v3 = ROTATE(v3, 21); v3 ^= v0; \
    v2 += v1; v1 = ROTATE(v1, 17); v1 ^= v2; v2 = ROTATE(v2, 32); } while (0)

INLINE __u64 siphash13(__u64 k0, __u64 k1, __u64 word)
{
    __u64 v0 = k0 ^ 0x736f6d6570736575ULL, v1 = k1 ^ 0x646f72616e646f6dULL;
    __u64 v2 = k0 ^ 0x6c7967656e657261ULL, v3 = k1 ^ 0x7465646279746573ULL, last = 8ULL << 56;
    v3 ^= word; ROUND; v0 ^= word;
    v3 ^= last; ROUND; v0 ^= last;
    v2 ^= 0xff;
    ROUND; ROUND; ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

/* On 40 bits: 24 of the address, 16 of the port. */
INLINE __u64 permute(__u64 x, __u64 key)
{
    __u32 mask = (1u << 20) - 1, left = x >> 20 & mask, right = x & mask;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        __u32 f = right + (__u32)(key >> (i * 8)) * 0x9e3779b1u + i;
        f ^= f >> 15; f *= 0x2c1b3c6du; f ^= f >> 12;
        __u32 next = (left ^ f) & mask;
        left = right;
        right = next;
    }
    return (__u64)left << 20 | right;
}

INLINE __u16 fold(__u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

SEC("xdp") int bare_send(struct xdp_md *context)
{
    void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    struct ethhdr *ethernet = data;
    struct iphdr *ip = data + ETH_HLEN;
    struct tcphdr *tcp = (void *)(ip + 1);
    if ((void *)(tcp + 1) > end)
        return XDP_ABORTED;
    __u32 thread = ethernet->h_source[5] & (BARE_THREADS - 1);
    struct bare *b = bpf_map_lookup_elem(&bares, &thread);
    if (!b)
        return XDP_ABORTED;
    __u64 index = b->next++;
    __u32 address, port, sequence;
    if (b->work) {
        __u64 image = permute(index, b->k0);
        address = b->network | (image & b->host_mask);
        port = image >> 24 & 0xffff;
        sequence = siphash13(b->k0, b->k1, (__u64)address << 32 | port);
    } else {
        address = b->network | (index & b->host_mask);
        port = 80;
        sequence = 0x12345678;
    }
    /* The sums of the constant fields are known: only what varies is added. */
    __u32 to = bpf_htonl(address), number = bpf_htonl(sequence), varying = (to & 0xffff) + (to >> 16);
    __u16 to_port = bpf_htons(port);
    ip->daddr = to;
    ip->check = fold(b->ip_sum + varying);
    tcp->dest = to_port;
    tcp->seq = number;
    tcp->check = fold(b->tcp_sum + varying + to_port + (number & 0xffff) + (number >> 16));
    return bpf_redirect(b->ifindex, 0);
}

char _license[] SEC("license") = "GPL";
