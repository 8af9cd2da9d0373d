/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda_types.h"
#include "errors.h"
#include "macro.h"

static const struct error_text errors[] = {
#define X(code_, driver_, runtime_, text_) \
	{.code = (code_), .driver = #driver_, .runtime = #runtime_, .text = (text_)},
	SIMCUDA_ERRORS(X)
#undef X
};

const struct error_text *error_find(int code)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++)
		if (errors[i].code == code)
			return &errors[i];
	return NULL;
}
