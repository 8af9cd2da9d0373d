/* SPDX-License-Identifier: GPL-2.0 */
/* News of executable mappings and of exec, for a daemon that may not ask perf for them: some
 * distributions keep perf_event_open(2) for CAP_SYS_ADMIN (kernel.perf_event_paranoid above 2).
 */
#ifndef SRTLEAK_MAPPING_H
#define SRTLEAK_MAPPING_H

#define VM_EXEC 4UL

/* Records lost so far. */
__u64 news_lost = 0;

/* Rare, and to be acted on before the process goes on far: always wakes the daemon. */
static __always_inline void tell(__u64 start)
{
	struct mapping_news *record = bpf_ringbuf_reserve(&news, sizeof(*record), 0);

	if (!record) {
		__sync_fetch_and_add(&news_lost, 1);
		return;
	}
	record->time_ns = bpf_ktime_get_boot_ns();
	record->start = start;
	record->lost = news_lost;
	record->tgid = bpf_get_current_pid_tgid() >> 32;
	record->zero = 0;
	bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
}

/* What all libraries that are probed begin with (libsearch.h knows the rest of their names). */
static __always_inline bool is_of_interest(const struct file *file)
{
	const char wanted[] = "libcud";
	char name[sizeof(wanted)];

	if (bpf_probe_read_kernel(name, sizeof(name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name)))
		return false;
	for (int i = 0; i < (int)sizeof(wanted) - 1; i++)
		if (name[i] != wanted[i])
			return false;
	return true;
}

/* The kernel's own report to perf, made or not. Processes that use CUDA are told of whatever they
 * map, for the daemon's knowledge of their modules.
 */
SEC("fentry/perf_event_mmap")
int BPF_PROG(on_mapped, struct vm_area_struct *vma)
{
	const struct file *file = BPF_CORE_READ(vma, vm_file);

	if (!file || !(BPF_CORE_READ(vma, vm_flags) & VM_EXEC))
		return 0;
	if (is_of_interest(file) || process_find(bpf_get_current_task_btf()))
		tell(BPF_CORE_READ(vma, vm_start));
	return 0;
}

#endif
