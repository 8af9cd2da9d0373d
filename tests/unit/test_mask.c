/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets in command lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/mask.h"

/* Arguments are written with '|' where the kernel has NUL. */
static const struct sample {
	const char *args;
	const char *shown;
} samples[] = {
	{"", ""},
	{"python3|-m|sglang.launch_server|--port|30000",
	 "python3 -m sglang.launch_server --port 30000"},
	/* option and value */
	{"s|--api-key=X|--port|1", "s --api-key=*** --port 1"},
	{"s|--api-key|X|--port|1", "s --api-key *** --port 1"},
	{"s|--api-key|X|Y|--port|1", "s --api-key *** *** --port 1"},
	{"s|-token|X", "s -token ***"},
	{"s|--password||--a", "s --password *** --a"},
	{"s|--password", "s --password"},
	{"s|--password|--port|1", "s --password --port 1"},
	{"s|--password=two words=x?y&z", "s --password=***"},
	{"s|--password|two words", "s --password ***"},
	{"s|--db.passwd=X", "s --db.passwd=***"},
	{"s|--client_secret|X", "s --client_secret ***"},
	{"s|--API-KEY=X|--Credential|X", "s --API-KEY=*** --Credential ***"},
	/* variables, several names in one argument */
	{"env|HF_TOKEN=X|python", "env HF_TOKEN=*** python"},
	{"env|PGPASSWORD=X|apiKey=X|openaiApikey=X",
	 "env PGPASSWORD=*** apiKey=*** openaiApikey=***"},
	{"s|--env=HF_TOKEN=a b", "s --env=HF_TOKEN=***"},
	{"curl|-H|X-Api-Key: abc def", "curl -H X-Api-Key: ***"},
	/* not meant */
	{"s|--tokenizer|X|--tokenizer-path|Y", "s --tokenizer X --tokenizer-path Y"},
	{"s|--max-tokens|5|--max-total-tokens=6", "s --max-tokens 5 --max-total-tokens=6"},
	{"s|--monkey|X|--keyboard=Y|--secretary|Z", "s --monkey X --keyboard=Y --secretary Z"},
	{"s|token|X", "s token X"},
	/* URLs */
	{"s|--dist|redis://me:pw@host:1/0", "s --dist redis://***@host:1/0"},
	{"s|--dist=redis://:p@w@host", "s --dist=redis://***@host"},
	{"https://ghp_x@github.com/a@b", "https://***@github.com/a@b"},
	{"http://host:80/x@y", "http://host:80/x@y"},
	{"http://h/?token=X&a=1&api_key=Y", "http://h/?token=***&a=1&api_key=***"},
	{"http://a:b@h/?x=1&password=Y#z", "http://***@h/?x=1&password=***"},
	/* JSON */
	{"s|--cfg|{\"api_key\": \"a\\\"b\", \"n\": 1}", "s --cfg {\"api_key\": ***, \"n\": 1}"},
	{"s|--cfg={'token':'x','n':1}", "s --cfg={'token':***,'n':1}"},
	{"s|{\"keys\": [\"a\", \"b\"]}", "s {\"keys\": ***}"},
	/* scripts */
	{"bash|-c|python x.py --api-key X --port 1", "bash -c python x.py --api-key *** --port 1"},
	{"bash|-c|cd /; HF_TOKEN='a b' python x.py", "bash -c cd /; HF_TOKEN=*** python x.py"},
	{"bash|-c|x --token \"a -b\" && y", "bash -c x --token *** && y"},
	{"bash|-c|curl 'http://u:p@h/?key=X&a=b' -o f",
	 "bash -c curl 'http://***@h/?key=***&a=b' -o f"},
	/* cut short anywhere */
	{"--token=", "--token=***"},
	{"x \"token", "x \"token"},
	{"x \"token\"", "x \"token\""},
	{"x \"token\": \"abc\\", "x \"token\": ***"},
	{"x://", "x://"},
};

/* Without a byte behind the arguments, so that a sanitizer sees reads past their end. */
static void mask(struct buffer *out, const char *args, size_t size)
{
	char *copy = malloc(MAX(size, 1));

	assert_non_null(copy);
	for (size_t i = 0; i < size; i++)
		copy[i] = (char)(args[i] == '|' ? '\0' : args[i]);
	mask_arguments(out, copy, size);
	free(copy);
	assert_false(buffer_failed(out));
}

static void test_samples(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct buffer out = {0};

		mask(&out, samples[i].args, strlen(samples[i].args));
		buffer_append(&out, "", 1);
		assert_string_equal(out.data, samples[i].shown);
		buffer_free(&out);
	}
}

/* Random bytes of the characters that matter: ends, stays in bounds, passes no NUL on. */
static void test_random(void **state)
{
	static const char alphabet[] = "a-_.=:/?&@'\"\\{} |kKeEyY;\n\xff";
	uint64_t random = 88172645463325252ULL;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct buffer out = {0};
		char args[64];
		size_t size = (size_t)round % sizeof(args);

		for (size_t i = 0; i < size; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			args[i] = alphabet[random % (sizeof(alphabet) - 1)];
		}
		mask(&out, args, size);
		assert_true(out.size == 0 || !memchr(out.data, '\0', out.size));
		buffer_free(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
