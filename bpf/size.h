/* SPDX-License-Identifier: GPL-2.0 */
/* How many bytes a call asks for, as far as its arguments say so. 0 where they do not, NO_MEMORY
 * where they say that there are none.
 */
#ifndef SRTLEAK_SIZE_H
#define SRTLEAK_SIZE_H

#define NO_MEMORY (~0ULL)

/* Bits of a texel by CUarray_format (cuda.h of CUDA 13.0); those of PER_CHANNEL times channels. */
#define PER_CHANNEL 0x80
const volatile __u8 format_bits[256] = {
	[0x01] = PER_CHANNEL | 8,           /* unsigned, 8 bits */
	[0x02] = PER_CHANNEL | 16,          /* … 16 bits */
	[0x03] = PER_CHANNEL | 32,          /* … 32 bits */
	[0x08] = PER_CHANNEL | 8,           /* signed, 8 bits */
	[0x09] = PER_CHANNEL | 16,          /* … 16 bits */
	[0x0a] = PER_CHANNEL | 32,          /* … 32 bits */
	[0x10] = PER_CHANNEL | 16,          /* half */
	[0x20] = PER_CHANNEL | 32,          /* float */
	[0x50] = 32,                        /* 10, 10, 10, 2 */
	[0x91 ... 0x92] = 4,                /* BC1 */
	[0x93 ... 0x96] = 8,                /* BC2, BC3 */
	[0x97 ... 0x98] = 4,                /* BC4 */
	[0x99 ... 0x9e] = 8,                /* BC5, BC6H, BC7 */
	[0x9f] = 24,                        /* P010 */
	[0xa1] = 24,                        /* P016 */
	[0xa2] = 16,                        /* NV16 */
	[0xa3 ... 0xa4] = 32,               /* P210, P216 */
	[0xa5] = 16,                        /* YUY2 */
	[0xa6 ... 0xa9] = 32,               /* Y210, Y216, AYUV, Y410 */
	[0xb0] = 12,                        /* NV12 */
	[0xb1] = 64,                        /* Y416 */
	[0xb2] = 24,                        /* three planes of 8 bits */
	[0xb3] = 48,                        /* … of 10 */
	[0xb4] = 24,                        /* 4:4:4, semi-planar, of 8 bits */
	[0xb5] = 48,                        /* … of 16 */
	[0xc0 ... 0xc2] = PER_CHANNEL | 8,  /* normalised unsigned, 8 bits */
	[0xc3 ... 0xc5] = PER_CHANNEL | 16, /* … 16 bits */
	[0xc6 ... 0xc8] = PER_CHANNEL | 8,  /* … signed, 8 bits */
	[0xc9 ... 0xcb] = PER_CHANNEL | 16, /* … 16 bits */
};
#define FORMAT_BC1 0x91
#define FORMAT_BC7 0x9e

/* Kinds of the runtime's cudaChannelFormatDesc whose bits are not the sum of its channels'. */
#define CHANNELS_NV12 4
#define CHANNELS_BC1 17U /* each has one more, for sRGB or signed numbers */
#define CHANNELS_BC4 23U
#define CHANNELS_BC7 30U

#define ARRAY_LAYERED 0x01 /* a level of it has as many layers as the first; a cubemap likewise */
#define ARRAY_CUBEMAP 0x04
#define ARRAY_EMPTY 0xc0 /* sparse, or to be mapped later: it comes without memory */

#define TEXELS_MAX (1ULL << 18) /* in one direction; hardware has half of it */

struct array {
	__u64 width, height, depth;
	__u64 bits;  /* of a texel */
	bool blocks; /* of 4 by 4 texels */
	bool layered;
	bool empty;
};

/* What a texel is, in one number: its bits, and these. */
#define TEXEL_BLOCKS 0x100U
#define TEXEL_LAYERED 0x200U

static __always_inline __u64 level_of(__u64 texels, __u32 level, bool blocks)
{
	__u64 left = texels >> (level & 31);

	left = left ? left : 1;
	return blocks ? (left + 3) & ~3ULL : left;
}

static __always_inline __u64 level_bytes(const struct array *array, __u32 level)
{
	__u64 width = level_of(array->width, level, array->blocks);
	__u64 height = level_of(array->height, level, array->blocks);
	__u64 depth = level_of(array->depth, array->layered ? 0 : level, false);

	return width * height * depth * array->bits / 8;
}

static __always_inline bool is_last_level(const struct array *array, __u32 level)
{
	return (array->width | array->height | (array->layered ? 0 : array->depth)) >> level <= 1;
}

static __always_inline void array_flags(struct array *array, __u32 flags)
{
	array->layered = flags & (ARRAY_LAYERED | ARRAY_CUBEMAP);
	array->empty = flags & ARRAY_EMPTY;
}

/* Levels beyond the one of a single texel are not made. Global, so that the verifier looks at it
 * once.
 */
__noinline __u64 levels_bytes(__u64 width, __u64 height, __u64 depth, __u32 texel, __u32 levels)
{
	struct array array = {
		.width = width,
		.height = height,
		.depth = depth,
		.bits = texel & 0xff,
		.blocks = texel & TEXEL_BLOCKS,
		.layered = texel & TEXEL_LAYERED,
	};
	__u64 bytes = 0;
	__u32 level;

	for (level = 0; level < MIPMAP_LEVELS; level++) {
		bytes += level_bytes(&array, level);
		if (level + 1 >= levels || is_last_level(&array, level))
			break;
	}
	return bytes;
}

static __always_inline __u64 array_bytes(const struct array *array, __u32 levels)
{
	__u32 texel = (array->bits & 0xff) | (array->blocks ? TEXEL_BLOCKS : 0) |
		      (array->layered ? TEXEL_LAYERED : 0);

	if (array->empty)
		return NO_MEMORY;
	if (!array->width || array->width > TEXELS_MAX || array->height > TEXELS_MAX ||
	    array->depth > TEXELS_MAX)
		return 0;
	return levels_bytes(array->width, array->height, array->depth, texel, levels);
}

static __always_inline void array_format(struct array *array, __u32 format, __u32 channels)
{
	__u8 bits = format_bits[format & 0xff];

	if (format > 0xff)
		return;
	array->bits = bits & PER_CHANNEL ? (bits & ~PER_CHANNEL) * (channels & 7) : bits;
	array->blocks = format >= FORMAT_BC1 && format <= FORMAT_BC7;
}

/* The driver's descriptions: of planes and of solids, in 32 bits before CUDA 3.2, else in 64. */
static __always_inline bool read_descriptor(struct array *array, const void *from, __u8 size)
{
	struct {
		__u32 width, height, format, channels;
	} plane32;
	struct {
		__u64 width, height;
		__u32 format, channels;
	} plane;
	struct {
		__u32 width, height, depth, format, channels, flags;
	} solid32;
	struct {
		__u64 width, height, depth;
		__u32 format, channels, flags, zero;
	} solid;

#define READ_DESCRIPTOR(which, deep, bits)                              \
	do {                                                            \
		if (bpf_probe_read_user(&(which), sizeof(which), from)) \
			return false;                                   \
		array->width = (which).width;                           \
		array->height = (which).height;                         \
		array->depth = (deep);                                  \
		array_flags(array, (bits));                             \
		array_format(array, (which).format, (which).channels);  \
	} while (0)
	if (size == SIZE_PLANE32)
		READ_DESCRIPTOR(plane32, 0, 0);
	else if (size == SIZE_PLANE)
		READ_DESCRIPTOR(plane, 0, 0);
	else if (size == SIZE_SOLID32)
		READ_DESCRIPTOR(solid32, solid32.depth, solid32.flags);
	else
		READ_DESCRIPTOR(solid, solid.depth, solid.flags);
#undef READ_DESCRIPTOR
	return true;
}

/* The runtime's: bits of four channels, and what they are. */
static __always_inline bool read_channels(struct array *array, const void *from)
{
	__s32 channels[5];
	__u32 kind;

	if (bpf_probe_read_user(channels, sizeof(channels), from))
		return false;
	kind = channels[4];
	array->bits = (channels[0] + channels[1] + channels[2] + channels[3]) & 0xff;
	array->blocks = kind >= CHANNELS_BC1 && kind <= CHANNELS_BC7;
	if (array->blocks)
		array->bits = kind - CHANNELS_BC1 < 2 || kind - CHANNELS_BC4 < 2 ? 4 : 8;
	if (kind == CHANNELS_NV12)
		array->bits = 12;
	return true;
}

static __always_inline bool read_extent(struct pt_regs *ctx, __u64 extent[3])
{
#if defined(__TARGET_ARCH_arm64)
	const void *from = (const void *)PT_REGS_PARM3(ctx);
#else
	const void *from = (const void *)(PT_REGS_SP(ctx) + 8);
#endif
	return !bpf_probe_read_user(extent, 3 * sizeof(*extent), from);
}

static __always_inline __u64 texels_bytes(struct pt_regs *ctx, const volatile struct api_row *row,
					  const void *from)
{
	struct array array = {};
	__u64 extent[3] = {};
	__u32 levels = 1;

	if (!read_channels(&array, from))
		return 0;
	if (row->size == SIZE_TEXELS) {
		extent[0] = PT_REGS_PARM3(ctx);
		extent[1] = PT_REGS_PARM4(ctx);
		array_flags(&array, PT_REGS_PARM5(ctx));
	} else if (!read_extent(ctx, extent)) {
		return 0;
	}
	array.width = extent[0];
	array.height = extent[1];
	array.depth = extent[2];
	if (row->size == SIZE_TEXELS3D)
		array_flags(&array, argument(ctx, AFTER_EXTENT));
	if (row->size == SIZE_TEXELS_MIPMAP) {
		levels = argument(ctx, AFTER_EXTENT);
		array_flags(&array, argument(ctx, AFTER_EXTENT + 1));
	}
	return array_bytes(&array, levels);
}

/* Global, so that the verifier looks at it once. */
__noinline __u64 descriptor_bytes(__u64 from, __u32 size, __u32 levels)
{
	struct array array = {};

	if (!read_descriptor(&array, (const void *)from, size))
		return 0;
	return array_bytes(&array, size == SIZE_MIPMAP ? levels : 1);
}

/* CUDA 12 has put an argument in front of the parameters of a node, under the old name in CUDA 13.
 * Where they were there is now a count, and no address is so low.
 */
#define ADDRESS_FIRST 65536

/* What the entry of an allocating call says of its size: bytes, or what read_result() needs. */
static __always_inline __u64 size_at_entry(struct pt_regs *ctx, struct thread *th,
					   const volatile struct api_row *row)
{
	__u64 asked = argument(ctx, row->size_arg), extent[3];

	switch (row->size) {
	case SIZE_NONE:
		return 0;
	case SIZE_BYTES32:
		return (__u32)asked;
	case SIZE_PITCH32:
		th->extra = (__u32)th->extra;
		return asked;
	case SIZE_PITCHED:
		th->extra = read_extent(ctx, extent) ? extent[1] * extent[2] : 0;
		return th->pointer + 8;
	case SIZE_PLANE32:
	case SIZE_PLANE:
	case SIZE_SOLID32:
	case SIZE_SOLID:
	case SIZE_MIPMAP:
		return descriptor_bytes(asked, row->size, th->extra);
	case SIZE_NODE:
		return asked < ADDRESS_FIRST ? PT_REGS_PARM6(ctx) : asked;
	case SIZE_TEXELS:
	case SIZE_TEXELS3D:
	case SIZE_TEXELS_MIPMAP:
		return texels_bytes(ctx, row, (const void *)asked);
	default:
		return asked;
	}
}

/* Fetches what the call has stored: pointer and pitch. False where it is not readable. */
static __always_inline bool read_result(const struct thread *th, const volatile struct api_row *row,
					__u64 *addr, __u64 *size)
{
	__u32 width = row->pointer == POINTER_OUT32 ? 4 : 8;
	__u64 pitch = 0;

	*addr = row->pointer == POINTER_ARG ? th->pointer : 0;
	if (row->pointer != POINTER_ARG &&
	    bpf_probe_read_user(addr, width, (const void *)th->pointer))
		return false;
	*size = th->size;
	if (row->size != SIZE_PITCH && row->size != SIZE_PITCH32 && row->size != SIZE_PITCHED)
		return true;
	if (bpf_probe_read_user(&pitch, row->size == SIZE_PITCH32 ? 4 : 8, (const void *)th->size))
		return false;
	*size = pitch * th->extra;
	return true;
}

#endif
