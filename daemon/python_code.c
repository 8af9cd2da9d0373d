/* SPDX-License-Identifier: Apache-2.0 */
#include "python_code.h"

#include <string.h>

#include "event.h"
#include "macro.h"
#include "python_lines.h"
#include "remote.h"

#define CODE_READ 144 /* bytes from a code object's begin that have all its fields, any version */
#define CODE_UNIT 2   /* bytes */
#define LOAD_ATTEMPTS 3

static const uint64_t part_max[PYTHON_PARTS] = {
	[PYTHON_PART_FUNCTION] = PYTHON_FUNCTION_MAX,
	[PYTHON_PART_FILE] = PYTHON_FILE_MAX,
	[PYTHON_PART_LINES] = PYTHON_LINETABLE_MAX,
};

static int32_t get_i32(const uint8_t *buf, size_t offset)
{
	int32_t value;

	memcpy(&value, buf + offset, sizeof(value));
	return value;
}

static struct python_code_fields parse_fields(const struct python_layout *layout,
					      const uint8_t code[CODE_READ])
{
	return (struct python_code_fields){
		.type = remote_u64(code, PYTHON_OBJECT_TYPE),
		.units = remote_u64(code, PYTHON_OBJECT_SIZE),
		.name = remote_u64(code, layout->code_name),
		.parts[PYTHON_PART_FUNCTION] = remote_u64(code, layout->code_qualname),
		.parts[PYTHON_PART_FILE] = remote_u64(code, layout->code_filename),
		.parts[PYTHON_PART_LINES] = remote_u64(code, layout->code_linetable),
		.flags = get_i32(code, layout->code_flags),
		.argcount = get_i32(code, layout->code_argcount),
		.kwonlyargcount = get_i32(code, layout->code_kwonlyargcount),
		.firstlineno = get_i32(code, layout->code_firstlineno),
	};
}

static int parse_bytes_head(const struct python_layout *layout,
			    const uint8_t head[PYTHON_TEXT_HEAD], struct python_text *ret)
{
	uint64_t length = remote_u64(head, PYTHON_OBJECT_SIZE);

	if (length > INT64_MAX)
		return -EBADMSG;
	*ret = (struct python_text){.length = length, .data = layout->bytes_data, .width = 1};
	return 0;
}

static int parse_heads(const struct python_layout *layout,
		       uint8_t heads[PYTHON_PARTS][PYTHON_TEXT_HEAD],
		       struct python_text parts[PYTHON_PARTS])
{
	int r = 0;

	for (int i = 0; i < PYTHON_PARTS && r >= 0; i++)
		r = i == PYTHON_PART_LINES ? parse_bytes_head(layout, heads[i], &parts[i])
					   : python_text_head(layout, heads[i], &parts[i]);
	return r;
}

/* Characters of a part that are kept. */
static size_t part_count(const struct python_code *code, enum python_part part)
{
	return MIN(code->parts[part].length, part_max[part]);
}

static size_t part_size(const struct python_code *code, enum python_part part)
{
	return part_count(code, part) * code->parts[part].width;
}

static const uint8_t *part_data(const struct python_code *code, enum python_part part)
{
	const uint8_t *data = code->image;

	for (enum python_part i = 0; i < part; i++)
		data += part_size(code, i);
	return data;
}

/* Reads in one call all that `code` stands on, the characters into `image`. -ESTALE where anything
 * but the characters differs.
 */
static int read_image(pid_t pid, const struct python_layout *layout, const struct python_code *code,
		      uint8_t *image)
{
	uint8_t head[CODE_READ];
	uint8_t heads[PYTHON_PARTS][PYTHON_TEXT_HEAD];
	struct remote_piece pieces[1 + 2 * PYTHON_PARTS] = {{code->addr, head, sizeof(head)}};
	struct python_text parts[PYTHON_PARTS];
	struct python_code_fields fields;
	int r;

	for (int i = 0; i < PYTHON_PARTS; i++) {
		uint64_t addr = code->fields.parts[i];
		uint64_t data = addr + code->parts[i].data;
		size_t size = part_size(code, i);

		pieces[1 + i] = (struct remote_piece){addr, heads[i], PYTHON_TEXT_HEAD};
		pieces[1 + PYTHON_PARTS + i] = (struct remote_piece){data, image, size};
		image += size;
	}
	r = remote_read_pieces(pid, pieces, ARRAY_SIZE(pieces));
	if (r < 0)
		return r == -EFAULT ? -ESTALE : r;

	fields = parse_fields(layout, head);
	r = parse_heads(layout, heads, parts);
	if (r < 0 || memcmp(&fields, &code->fields, sizeof(fields)) != 0 ||
	    memcmp(parts, code->parts, sizeof(parts)) != 0)
		return -ESTALE;
	return 0;
}

/* Finds out where everything is and how long, which the one read of read_image() has to know. */
static int read_shape(pid_t pid, const struct python_layout *layout, uint64_t type,
		      struct python_code *code)
{
	uint8_t head[CODE_READ];
	uint8_t heads[PYTHON_PARTS][PYTHON_TEXT_HEAD];
	struct remote_piece pieces[PYTHON_PARTS];
	int r;

	r = remote_read(pid, code->addr, head, sizeof(head));
	if (r < 0)
		return r;
	code->fields = parse_fields(layout, head);
	if (code->fields.type != type)
		return -EBADMSG;

	for (int i = 0; i < PYTHON_PARTS; i++)
		pieces[i] = (struct remote_piece){
			.addr = code->fields.parts[i], .buf = heads[i], .size = PYTHON_TEXT_HEAD};
	r = remote_read_pieces(pid, pieces, ARRAY_SIZE(pieces));
	if (r < 0)
		return r;
	return parse_heads(layout, heads, code->parts);
}

static int decode_text(const struct python_code *code, enum python_part part, char **ret)
{
	return python_text_utf8(part_data(code, part), code->parts[part].width,
				part_count(code, part), code->parts[part].length, ret);
}

static int load_once(pid_t pid, const struct python_layout *layout, uint64_t type, uint64_t addr,
		     struct python_code **ret)
{
	struct python_code shape = {.addr = addr};
	_cleanup_(python_code_cleanup) struct python_code *code = NULL;
	int r;

	r = read_shape(pid, layout, type, &shape);
	if (r < 0)
		return r;
	for (int i = 0; i < PYTHON_PARTS; i++)
		shape.image_size += part_size(&shape, i);

	code = malloc(sizeof(*code) + shape.image_size);
	if (!code)
		return -ENOMEM;
	*code = shape;
	r = read_image(pid, layout, code, code->image);
	if (r < 0)
		return r;

	r = decode_text(code, PYTHON_PART_FUNCTION, &code->function);
	if (r < 0)
		return r;
	r = decode_text(code, PYTHON_PART_FILE, &code->file);
	if (r < 0)
		return r;
	code->size = sizeof(*code) + code->image_size + strlen(code->function) + 1 +
		     strlen(code->file) + 1;
	*ret = TAKE_PTR(code);
	return 0;
}

int python_code_load(pid_t pid, const struct python_layout *layout, uint64_t type, uint64_t addr,
		     struct python_code **ret)
{
	int r;

	for (int i = 0; i < LOAD_ATTEMPTS; i++) {
		r = load_once(pid, layout, type, addr, ret);
		if (r != -ESTALE)
			return r;
	}
	return -EAGAIN;
}

int python_code_check(pid_t pid, const struct python_layout *layout, const struct python_code *code)
{
	_cleanup_free_ uint8_t *image = NULL;
	int r;

	image = malloc(code->image_size + 1);
	if (!image)
		return -ENOMEM;
	r = read_image(pid, layout, code, image);
	if (r < 0)
		return r;
	return memcmp(image, code->image, code->image_size) == 0 ? 0 : -ESTALE;
}

uint64_t python_code_sum(const struct python_code *code)
{
	const __u64 strings[] = {
		code->fields.parts[PYTHON_PART_FILE],
		code->fields.name,
		code->fields.parts[PYTHON_PART_FUNCTION],
		code->fields.parts[PYTHON_PART_LINES],
	};

	return stack_code_sum(strings);
}

int python_code_line(const struct python_layout *layout, const struct python_code *code,
		     uint64_t instr)
{
	uint64_t offset = instr - (code->addr + layout->code_bytecode);
	int line;

	/* a frame that has not run yet points at the unit before the first */
	if (offset == -(uint64_t)CODE_UNIT)
		offset = 0;
	if (offset / CODE_UNIT >= code->fields.units || offset > UINT32_MAX)
		return -ESTALE;
	line = python_line(layout, part_data(code, PYTHON_PART_LINES),
			   part_size(code, PYTHON_PART_LINES), code->fields.firstlineno,
			   (uint32_t)offset);
	return MAX(line, 0);
}

struct python_code *python_code_free(struct python_code *code)
{
	if (!code)
		return NULL;
	free(code->function);
	free(code->file);
	free(code);
	return NULL;
}
