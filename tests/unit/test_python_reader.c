/* SPDX-License-Identifier: Apache-2.0 */
/* Names and lines of live interpreters: every Python 3.11 that is found here. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <glob.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "daemon/python_code.h"
#include "daemon/python_reader.h"
#include "daemon/remote.h"
#include "macro.h"

#define LINE_MAX_BYTES (1 << 15)
#define PATIENCE 2000 /* looks of 1 ms each at a child that should get somewhere */
#define DEPTH_MAX 64

/* The child does what each line of its input says, and answers with lines and an "end". */
static const char script[] =
	"import sys, gc, threading\n"
	"def say(*words): print(*words, sep='\\t', flush=True)\n"
	"def cut(s, n): return s if len(s) <= n else s[:n - 1] + '…'\n"
	"def füñktion(a):\n"
	"  x = [a,\n"
	"       len('ab'),\n"
	"       a]\n"
	"  return x\n"
	"class 日本:\n"
	"  def 𠀀(self):\n"
	"    def inner(): yield 1\n"
	"    return inner\n"
	"def build(name, file='plain.py', first=1):\n"
	"  space = {}\n"
	"  text = '\\n' * (first - 1) + f'def {name}(a):\\n  b = a\\n  return b\\n'\n"
	"  exec(compile(text, file, 'exec'), space)\n"
	"  return space[name].__code__\n"
	"def surrogate(): return build('s').replace(co_qualname='a\\udc80b')\n"
	"def describe(code):\n"
	"  name = cut(code.co_qualname, 512).replace('\\udc80', '\\ufffd')\n"
	"  say('code', id(code), name, cut(code.co_filename, 4096))\n"
	"  for start, end, line in code.co_lines():\n"
	"    if line is not None: say('line', start, end, line)\n"
	"  say('end')\n"
	"def codes():\n"
	"  keep.extend([füñktion.__code__, 日本.𠀀.__code__, 日本().𠀀().__code__, surrogate(),\n"
	"    build('x' * 600), build('ö' * 512), build('f', 'ü' * 5000),\n"
	"    build('g', '日/a.py', 99), threading.Thread.start.__code__,\n"
	"    sys.modules['_frozen_importlib']._find_spec.__code__])\n"
	"  for code in keep: describe(code)\n"
	"def reuse():\n"
	"  old = build('name_old')\n"
	"  where = id(old)\n"
	"  say('old', where)\n"
	"  sys.stdin.readline()\n"
	"  del old\n"
	"  for i in range(100000):\n"
	"    new = build(f'new_{i % 10000:04}')\n"
	"    if id(new) == where: break\n"
	"  say('new', id(new), new.co_name)\n"
	"  sys.stdin.readline()\n"
	"def many():\n"
	"  for i in range(17000):\n"
	"    keep.append(build(f'f{i}'))\n"
	"    say('one', id(keep[-1]), f'f{i}')\n"
	"def report(frame):\n"
	"  while frame:\n"
	"    say('frame', frame.f_code.co_qualname, frame.f_lineno)\n"
	"    frame = frame.f_back\n"
	"  say('end')\n"
	"def wait_here(): return report(sys._getframe()), sys.stdin.readline()\n"
	"def generator():\n"
	"  yield wait_here()\n"
	"class 深い:\n"
	"  def größe(self):\n"
	"    return [max(\n"
	"      v for v in\n"
	"      generator()) for _ in (1,)]\n"
	"def stack():\n"
	"  return sorted([3],\n"
	"    key=lambda x: len(\n"
	"      深い().größe()))\n"
	"def objects():\n"
	"  keep.append(bytes(4096))\n"
	"  say('objects', id(keep), id('str'), id(keep[-1]) + 32)\n"
	"keep = []\n"
	"say('ready')\n"
	"while command := sys.stdin.readline().strip():\n"
	"  globals()[command]()\n"
	"  say('end')\n";

static const char *interpreter;

struct target {
	pid_t pid;
	FILE *in, *out; /* as the child sees them */
	uint64_t bias;
	struct python_binary binary;
	struct python *py;
	char line[LINE_MAX_BYTES];
};

/* The next line of the child's output, without its newline. */
static char *answer(struct target *t)
{
	if (!fgets(t->line, sizeof(t->line), t->out))
		fail_msg("%s ended", interpreter);
	t->line[strcspn(t->line, "\n")] = '\0';
	return t->line;
}

static void say(struct target *t, const char *command)
{
	fprintf(t->in, "%s\n", command);
	fflush(t->in);
}

static void expect_end(struct target *t)
{
	assert_string_equal(answer(t), "end");
}

static void start_child(struct target *t)
{
	int in[2], out[2];

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	t->pid = fork();
	assert_true(t->pid >= 0);
	if (t->pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		setenv("PYTHONUTF8", "1", 1);
		execl(interpreter, interpreter, "-c", script, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	t->in = fdopen(in[1], "w");
	t->out = fdopen(out[0], "r");
	assert_non_null(t->in);
	assert_non_null(t->out);
	assert_string_equal(answer(t), "ready");
}

/* The file that holds the interpreter, libpython where it is mapped, and where it begins. */
static uint64_t find_binary(pid_t pid, char path[PATH_MAX])
{
	char maps_path[64], exe_path[64], exe[PATH_MAX] = "", line[2 * PATH_MAX];
	uint64_t begin = 0;
	FILE *maps;

	snprintf(maps_path, sizeof(maps_path), "/proc/%d/maps", pid);
	snprintf(exe_path, sizeof(exe_path), "/proc/%d/exe", pid);
	assert_true(readlink(exe_path, exe, sizeof(exe) - 1) > 0);
	maps = fopen(maps_path, "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		uint64_t start, offset;
		char file[PATH_MAX];

		if (sscanf(line, "%" SCNx64 "-%*x %*s %" SCNx64 " %*s %*s %4095s", &start, &offset,
			   file) != 3 ||
		    offset != 0)
			continue;
		if (strcmp(file, exe) != 0 && !strstr(file, "/libpython3.11.so"))
			continue;
		strcpy(path, file);
		begin = start;
	}
	fclose(maps);
	assert_int_not_equal(begin, 0);
	return begin;
}

static void take_symbol(struct python_binary *binary, const char *name, uint64_t value)
{
	if (strcmp(name, "_PyRuntime") == 0)
		binary->runtime = value;
	else if (strcmp(name, "Py_Version") == 0)
		binary->version_symbol = value;
	else if (strcmp(name, "PyCode_Type") == 0)
		binary->code_type = value;
}

static void read_symbols(Elf *elf, struct python_binary *binary)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	GElf_Sym symbol;

	while ((section = elf_nextscn(elf, section))) {
		assert_non_null(gelf_getshdr(section, &header));
		if (header.sh_type != SHT_DYNSYM)
			continue;
		for (size_t i = 0; i < header.sh_size / header.sh_entsize; i++) {
			gelf_getsym(elf_getdata(section, NULL), (int)i, &symbol);
			take_symbol(binary, elf_strptr(elf, header.sh_link, symbol.st_name),
				    symbol.st_value);
		}
	}
}

/* The address that the first byte of the file is linked to be at. */
static uint64_t linked_begin(Elf *elf)
{
	GElf_Phdr header;
	size_t count;

	assert_int_equal(elf_getphdrnum(elf, &count), 0);
	for (size_t i = 0; i < count; i++) {
		gelf_getphdr(elf, (int)i, &header);
		if (header.p_type == PT_LOAD && header.p_offset == 0)
			return header.p_vaddr;
	}
	fail_msg("no segment begins with the file");
	return 0;
}

static void find_symbols(struct target *t)
{
	char path[PATH_MAX];
	uint64_t begin = find_binary(t->pid, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	assert_non_null(elf);
	read_symbols(elf, &t->binary);
	t->bias = begin - linked_begin(elf);
	elf_end(elf);
	close(fd);
}

static int setup(void **state)
{
	struct target *t = calloc(1, sizeof(*t));

	start_child(t);
	find_symbols(t);
	assert_int_equal(python_open(t->pid, &t->binary, t->bias, &t->py), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct target *t = *state;

	t->py = python_free(t->py);
	fclose(t->in);
	fclose(t->out);
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	free(t);
	return 0;
}

static uint64_t bytecode(uint64_t code)
{
	return code + python_layouts[0].code_bytecode;
}

static void assert_name(struct target *t, uint64_t code, const char *function)
{
	struct python_frame frame;

	assert_int_equal(python_frame_name(t->py, code, bytecode(code), 0, &frame), 0);
	assert_string_equal(frame.function, function);
}

static void test_open(void **state)
{
	struct target *t = *state;
	struct python *py = NULL;
	struct python_binary binary;

	assert_non_null(strstr(python_version(t->py), "3.11."));
	assert_int_equal(python_layout(t->py)->version, PYTHON_VERSION(3, 11));

	binary = t->binary;
	binary.version_symbol = 0;
	assert_int_equal(python_open(t->pid, &binary, t->bias, &py), -EOPNOTSUPP);
	binary.version_symbol = binary.code_type;
	assert_int_equal(python_open(t->pid, &binary, t->bias, &py), -EOPNOTSUPP);
	binary.version_symbol = 16 - t->bias;
	assert_int_equal(python_open(t->pid, &binary, t->bias, &py), -EFAULT);
	assert_null(py);
	assert_null(python_free(NULL));
}

static void read_objects(struct target *t, uint64_t *list, uint64_t *str, uint64_t *zeros)
{
	say(t, "objects");
	assert_int_equal(
		sscanf(answer(t), "objects %" SCNu64 " %" SCNu64 " %" SCNu64, list, str, zeros), 3);
	expect_end(t);
}

static int validate_with(struct target *t, struct python_binary binary)
{
	struct python *py = NULL;
	int r;

	assert_int_equal(python_open(t->pid, &binary, t->bias, &py), 0);
	r = python_validate(py);
	python_free(py);
	return r;
}

static void test_validate(void **state)
{
	struct target *t = *state;
	struct python_binary binary = t->binary;
	uint64_t list, str, zeros;

	read_objects(t, &list, &str, &zeros);
	assert_int_equal(python_validate(t->py), 0);

	binary.runtime = zeros - t->bias;
	assert_int_equal(validate_with(t, binary), -EAGAIN);
	binary.runtime = t->binary.code_type;
	assert_int_equal(validate_with(t, binary), -EBADMSG);
	binary.runtime = 16 - t->bias;
	assert_int_equal(validate_with(t, binary), -EBADMSG);

	/* frames that lead to no code object */
	binary = t->binary;
	binary.code_type += 8;
	assert_int_equal(validate_with(t, binary), -EBADMSG);
}

static void check_lines(struct target *t, uint64_t code)
{
	struct python_frame frame;
	uint64_t start, end;
	int line;

	while (sscanf(answer(t), "line %" SCNu64 " %" SCNu64 " %d", &start, &end, &line) == 3)
		for (uint64_t at = start; at < end; at += 2) {
			assert_int_equal(
				python_frame_name(t->py, code, bytecode(code) + at, 0, &frame), 0);
			assert_int_equal(frame.line, line);
		}
	assert_string_equal(t->line, "end");
}

static void test_names_and_lines(void **state)
{
	struct target *t = *state;
	char function[4 * PYTHON_FUNCTION_MAX + 1], file[4 * PYTHON_FILE_MAX + 1];
	struct python_frame frame;
	size_t seen = 0;
	uint64_t code;

	say(t, "codes");
	while (sscanf(answer(t), "code\t%" SCNu64 "\t%2048[^\t]\t%16384[^\t]", &code, function,
		      file) == 3) {
		assert_int_equal(python_frame_name(t->py, code, bytecode(code), 0, &frame), 0);
		assert_string_equal(frame.function, function);
		assert_string_equal(frame.file, file);
		check_lines(t, code);
		seen++;
	}
	assert_string_equal(t->line, "end");
	assert_int_equal(seen, 10);
}

static void test_wrong_addresses(void **state)
{
	struct target *t = *state;
	struct python_frame frame = {.line = -1};
	uint64_t list, str, zeros, code;

	read_objects(t, &list, &str, &zeros);
	assert_int_equal(python_frame_name(t->py, 0, 0, 0, &frame), -EFAULT);
	assert_int_equal(python_frame_name(t->py, 8, 0, 0, &frame), -EFAULT);
	assert_int_equal(python_frame_name(t->py, UINT64_MAX, 0, 0, &frame), -EFAULT);
	assert_int_equal(python_frame_name(t->py, 1ULL << 63, 0, 0, &frame), -EFAULT);
	assert_int_equal(python_frame_name(t->py, list, bytecode(list), 0, &frame), -EBADMSG);
	assert_int_equal(python_frame_name(t->py, str, bytecode(str), 0, &frame), -EBADMSG);
	assert_int_equal(python_frame_name(t->py, zeros, bytecode(zeros), 0, &frame), -EBADMSG);

	say(t, "reuse");
	assert_int_equal(sscanf(answer(t), "old %" SCNu64, &code), 1);
	assert_int_equal(python_frame_name(t->py, code, 0, 0, &frame), -ESTALE);
	assert_int_equal(python_frame_name(t->py, code, bytecode(code) - 4, 0, &frame), -ESTALE);
	assert_int_equal(python_frame_name(t->py, code, bytecode(code) + 4096, 0, &frame), -ESTALE);
	assert_int_equal(python_frame_name(t->py, code + 8, bytecode(code), 0, &frame), -EBADMSG);
	assert_int_equal(frame.line, -1);
	/* a frame that has not run yet */
	assert_int_equal(python_frame_name(t->py, code, bytecode(code) - 2, 0, &frame), 0);
	assert_int_equal(frame.line, 1);
	say(t, "");
	answer(t);
	say(t, "");
	expect_end(t);
}

static uint64_t target_u64(struct target *t, uint64_t addr)
{
	uint64_t value = 0;

	remote_read_u64(t->pid, addr, &value);
	return value;
}

static void test_reused_address(void **state)
{
	struct target *t = *state;
	uint64_t old, new;
	char name[64];

	say(t, "reuse");
	assert_int_equal(sscanf(answer(t), "old %" SCNu64, &old), 1);
	assert_name(t, old, "name_old");
	assert_name(t, old, "name_old");

	say(t, "");
	assert_int_equal(sscanf(answer(t), "new %" SCNu64 " %63s", &new, name), 2);
	assert_int_equal(old, new);
	assert_name(t, new, name);
	say(t, "");
	expect_end(t);
}

static void overwrite(struct target *t, uint64_t addr, const void *buf, size_t size)
{
	struct iovec local = {(void *)(uintptr_t)buf, size};
	struct iovec remote = {(void *)(uintptr_t)addr, size};

	assert_int_equal(process_vm_writev(t->pid, &local, 1, &remote, 1, 0), size);
}

/* All that the code object points to lies where that of an earlier one lay: only the bytes differ.
 */
static void test_reused_address_with_all_its_objects(void **state)
{
	struct target *t = *state;
	const struct python_layout *l = python_layout(t->py);
	const uint8_t next_line = 0x80 | 13 << 3 | 0;
	const uint8_t delta = 10; /* +5 */
	struct python_frame frame;
	uint64_t code, name, table;

	say(t, "reuse");
	assert_int_equal(sscanf(answer(t), "old %" SCNu64, &code), 1);
	assert_name(t, code, "name_old");

	name = target_u64(t, code + l->code_qualname);
	overwrite(t, name + l->unicode_ascii, "name_new", 8);
	assert_name(t, code, "name_new");

	assert_int_equal(python_frame_name(t->py, code, bytecode(code), 0, &frame), 0);
	assert_int_equal(frame.line, 1);
	table = target_u64(t, code + l->code_linetable);
	overwrite(t, table + l->bytes_data, &next_line, 1);
	overwrite(t, table + l->bytes_data + 1, &delta, 1);
	assert_int_equal(python_frame_name(t->py, code, bytecode(code), 0, &frame), 0);
	assert_int_equal(frame.line, 6);
}

static void test_more_than_the_cache_holds(void **state)
{
	struct target *t = *state;
	uint64_t first = 0, code;
	size_t count = 0;
	char name[64];

	say(t, "many");
	while (sscanf(answer(t), "one %" SCNu64 " %63s", &code, name) == 2) {
		assert_name(t, code, name);
		if (count++ == 0)
			first = code;
	}
	assert_string_equal(t->line, "end");
	assert_int_equal(count, 17000);
	assert_name(t, first, "f0");
}

struct stack {
	size_t depth;
	char function[DEPTH_MAX][64];
	int line[DEPTH_MAX];
};

/* Follows the frames of the child's only thread as a probe does. */
static void walk_stack(struct target *t, struct stack *ret)
{
	const struct python_layout *l = python_layout(t->py);
	uint64_t interp, thread, frame;

	interp = target_u64(t, t->bias + t->binary.runtime + l->runtime_interpreters);
	thread = target_u64(t, interp + l->interp_threads);
	frame = target_u64(t, target_u64(t, thread + l->tstate_frame) + l->cframe_frame);
	for (ret->depth = 0; frame && ret->depth < DEPTH_MAX; ret->depth++) {
		struct python_frame f;

		if (python_frame_name(t->py, target_u64(t, frame + l->frame_code),
				      target_u64(t, frame + l->frame_instr), 0, &f) < 0)
			return;
		snprintf(ret->function[ret->depth], sizeof(ret->function[0]), "%.63s", f.function);
		ret->line[ret->depth] = f.line;
		frame = target_u64(t, frame + l->frame_previous);
	}
}

static bool same_stack(const struct stack *a, const struct stack *b)
{
	if (a->depth != b->depth)
		return false;
	for (size_t i = 0; i < a->depth; i++)
		if (strcmp(a->function[i], b->function[i]) != 0 || a->line[i] != b->line[i])
			return false;
	return true;
}

static void print_stack(const char *title, const struct stack *s)
{
	for (size_t i = 0; i < s->depth; i++)
		print_message("%s %s:%d\n", title, s->function[i], s->line[i]);
}

static void test_stack_of_a_live_thread(void **state)
{
	struct target *t = *state;
	struct stack expect = {}, got = {};

	say(t, "stack");
	while (sscanf(answer(t), "frame %63s %d", expect.function[expect.depth],
		      &expect.line[expect.depth]) == 2)
		assert_true(++expect.depth < DEPTH_MAX);
	assert_true(expect.depth > 6);

	/* it may not have come to its wait yet */
	for (int i = 0; i < PATIENCE && !same_stack(&expect, &got); i++) {
		usleep(1000);
		walk_stack(t, &got);
	}
	if (!same_stack(&expect, &got)) {
		print_stack("expected", &expect);
		print_stack("got", &got);
		fail();
	}
	say(t, "");
	expect_end(t);
}

static void test_process_that_is_gone(void **state)
{
	struct target *t = *state;
	struct python_frame frame;
	uint64_t list, str, zeros;
	siginfo_t info;

	read_objects(t, &list, &str, &zeros);
	kill(t->pid, SIGKILL);
	/* dead, but not yet reaped: the pid stays its own until teardown */
	assert_int_equal(waitid(P_PID, (id_t)t->pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(python_frame_name(t->py, list, 0, 0, &frame), -ESRCH);
	assert_int_equal(python_validate(t->py), -ESRCH);
}

static int test_interpreter(const char *path)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_validate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_and_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reused_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reused_address_with_all_its_objects, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_more_than_the_cache_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stack_of_a_live_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_process_that_is_gone, setup, teardown),
	};

	interpreter = path;
	print_message("%s\n", path);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	const char *extra = getenv("PYTHON311_EXTRA");
	glob_t found = {};
	int failed = 0;

	signal(SIGPIPE, SIG_IGN);
	glob("/usr/bin/python3.11", 0, NULL, &found);
	glob(extra ? extra : "~/.pyenv/versions/3.11*/bin/python3.11", GLOB_APPEND | GLOB_TILDE,
	     NULL, &found);
	if (found.gl_pathc == 0)
		print_message("no python3.11 here: nothing of this is tested\n");
	for (size_t i = 0; i < found.gl_pathc; i++)
		failed += test_interpreter(found.gl_pathv[i]);
	globfree(&found);
	return failed != 0;
}
