/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* Where CPython keeps what a stack walk needs: one row per minor version.
 *
 * Shared by the BPF programs (from the thread to its frames) and user space (validation, and from a
 * code object to names and lines). Offsets are bytes, for x86_64 builds with a GIL and without
 * Py_DEBUG or Py_TRACE_REFS; within a minor version they are the same in every release. Whether a
 * row fits the process at hand is checked there, see python_validate().
 *
 * To support one more version, add its row. What differs in kind and not in place is told by a
 * field: PYTHON_ABSENT for what a version lacks, `lines` for the format of the line table. A
 * version without co_qualname puts the offset of co_name there.
 */
#ifndef SRTLEAK_PYTHON_LAYOUT_H
#define SRTLEAK_PYTHON_LAYOUT_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define PYTHON_VERSION(major, minor) ((major) << 8 | (minor))
#define PYTHON_ABSENT 0xffff  /* an offset: this version has no such field */
#define PYTHON_NO_OWNER 0xff  /* frame_shim: this version has no shim frames */
#define PYTHON_FRAME_READ 80  /* bytes: the largest frame_size of all rows */
#define PYTHON_OBJECT_TYPE 8  /* ob_type; the same in all versions */
#define PYTHON_OBJECT_SIZE 16 /* ob_size and length of str; the same in all versions */

enum python_lines {
	PYTHON_LINES_LOCATIONS, /* 3.11 and later: one to many bytes an entry, code units */
};

struct python_layout {
	__u16 version; /* PYTHON_VERSION() */

	/* _PyRuntimeState; the key is the int in Py_tss_t, not the struct's begin */
	__u16 runtime_interpreters;
	__u16 runtime_tss_key;

	/* PyInterpreterState */
	__u16 interp_next;
	__u16 interp_threads;

	/* PyThreadState: tstate_frame leads to the struct that has cframe_frame in it, or is the
	 * frame pointer itself where cframe_frame is PYTHON_ABSENT
	 */
	__u16 tstate_prev;
	__u16 tstate_next;
	__u16 tstate_interp;
	__u16 tstate_thread_id; /* pthread_self() */
	__u16 tstate_native_id; /* the thread's number in its own pid namespace */
	__u16 tstate_frame;
	__u16 cframe_frame;

	/* _PyInterpreterFrame: the first frame_size bytes have all of it. Frames whose owner (one
	 * byte) is frame_shim or more are no code of anybody and are left out
	 */
	__u16 frame_code;
	__u16 frame_instr;
	__u16 frame_previous;
	__u16 frame_owner;
	__u16 frame_size;
	__u8 frame_shim;
	__u8 code_tag_mask; /* bits to clear in a frame's code pointer */

	/* PyCodeObject; ob_size counts code units of two bytes. The probes take code_filename and
	 * the three words behind it for what tells a code object from another.
	 */
	__u16 code_flags;
	__u16 code_argcount;
	__u16 code_kwonlyargcount;
	__u16 code_firstlineno;
	__u16 code_filename;
	__u16 code_name;
	__u16 code_qualname;
	__u16 code_linetable;
	__u16 code_bytecode;

	/* str and bytes */
	__u16 unicode_state;
	__u16 unicode_ascii;   /* characters of an ASCII-only str */
	__u16 unicode_compact; /* characters of any other */
	__u16 bytes_data;

	__u8 lines; /* enum python_lines */
};

static const struct python_layout python_layouts[] = {
	{
		.version = PYTHON_VERSION(3, 11),
		.runtime_interpreters = 40,
		.runtime_tss_key = 596,
		.interp_next = 0,
		.interp_threads = 16,
		.tstate_prev = 0,
		.tstate_next = 8,
		.tstate_interp = 16,
		.tstate_thread_id = 152,
		.tstate_native_id = 160,
		.tstate_frame = 56,
		.cframe_frame = 8,
		.frame_code = 32,
		.frame_instr = 56,
		.frame_previous = 48,
		.frame_owner = 69,
		.frame_size = 80,
		.frame_shim = PYTHON_NO_OWNER,
		.code_tag_mask = 0,
		.code_flags = 48,
		.code_argcount = 56,
		.code_kwonlyargcount = 64,
		.code_firstlineno = 72,
		.code_filename = 112,
		.code_name = 120,
		.code_qualname = 128,
		.code_linetable = 136,
		.code_bytecode = 184,
		.unicode_state = 32,
		.unicode_ascii = 48,
		.unicode_compact = 72,
		.bytes_data = 32,
		.lines = PYTHON_LINES_LOCATIONS,
	},
};

#define PYTHON_LAYOUTS (sizeof(python_layouts) / sizeof(python_layouts[0]))

#endif
