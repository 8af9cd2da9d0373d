/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chart.h"

#define LABEL_WIDTH 11 /* "1023.9 MiB " */

/* How full a cell can be, from not at all; a terminal without them shows others in their stead. */
static const char *const ramp[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
#define LEVELS (ARRAY_SIZE(ramp) - 1)

struct range {
	double low;
	double high;
	size_t known;
};

static struct range range_of(const double *samples, size_t n)
{
	struct range range = {.low = INFINITY, .high = -INFINITY};

	for (size_t i = 0; i < n; i++) {
		if (isnan(samples[i]))
			continue;
		range.low = MIN(range.low, samples[i]);
		range.high = MAX(range.high, samples[i]);
		range.known++;
	}
	return range;
}

/* The mean of what is known of some samples. */
static double mean(const double *samples, size_t n)
{
	double sum = 0;
	size_t known = 0;

	for (size_t i = 0; i < n; i++) {
		if (isnan(samples[i]))
			continue;
		sum += samples[i];
		known++;
	}
	return known ? sum / (double)known : NAN;
}

/* Brings a history to at most `width` samples. Returns their number. */
static size_t resample(const struct history *history, size_t width, double out[HISTORY_MAX])
{
	size_t n = MIN(history->n, width);

	for (size_t i = 0; i < n; i++) {
		size_t begin = i * history->n / n;

		out[i] = mean(history->bytes + begin, (i + 1) * history->n / n - begin);
	}
	return n;
}

/* How many of `steps` a sample fills: one at least, so that the lowest is seen; half where all are
 * equal.
 */
static size_t filled(double sample, const struct range *range, size_t steps)
{
	double span = range->high - range->low;

	if (isnan(sample))
		return 0;
	if (!(span > 0) || isinf(span))
		return (steps + 1) / 2;
	return 1 + (size_t)((sample - range->low) / span * (double)(steps - 1) + 0.5);
}

void chart_line(const struct history *history, int width, char out[CHART_LINE_MAX * 4 + 1])
{
	double samples[HISTORY_MAX];
	size_t n = resample(history, (size_t)MIN(width, CHART_LINE_MAX), samples);
	struct range range = range_of(samples, n);

	*out = '\0';
	for (size_t i = 0; i < n && range.known > 1; i++)
		out = stpcpy(out, ramp[filled(samples[i], &range, LEVELS)]);
}

/* One line of a chart: what of each sample reaches above `floor` steps. */
static void draw_line(const struct canvas *canvas, int y, size_t floor, size_t steps,
		      const double *samples, size_t n, const struct range *range)
{
	char text[HISTORY_MAX * 4 + 1];
	char *out = text;

	for (size_t i = 0; i < n; i++) {
		size_t height = filled(samples[i], range, steps);

		out = stpcpy(out, ramp[height > floor ? MIN(height - floor, LEVELS) : 0]);
	}
	canvas_text(canvas, y, LABEL_WIDTH + 2, (int)n, STYLE_GREEN, text);
}

static void draw_axis(const struct canvas *canvas, int y, const struct history *history, size_t n)
{
	double span = history->interval_s * (double)(history->n - 1);
	char text[HUMAN_MAX], past[HUMAN_MAX + 8];
	int x = LABEL_WIDTH + 2;

	if (!(span > 0))
		return;
	snprintf(past, sizeof(past), "-%s", human_duration(text, span));
	canvas_text(canvas, y, x, (int)n, STYLE_DIM, past);
	if (n > strlen(past) + strlen(" now"))
		canvas_text(canvas, y, x + (int)n - 3, 3, STYLE_DIM, "now");
}

int chart_draw(const struct canvas *canvas, int y, int height, const struct history *history)
{
	double samples[HISTORY_MAX];
	int room = MAX(canvas->columns - LABEL_WIDTH - 2, 1);
	size_t n = resample(history, (size_t)room, samples);
	struct range range = range_of(samples, n);
	int lines = MAX(height - 1, 1);
	char text[HUMAN_MAX];

	if (range.known < 2) {
		canvas_text(canvas, y, 1, canvas->columns, STYLE_DIM, "(no history yet)");
		return 1;
	}
	for (int i = 0; i < lines; i++) {
		if (i == 0 || (i == lines - 1 && range.low < range.high)) {
			human_bytes(text, i == 0 ? range.high : range.low);
			canvas_text(canvas, y + i, LABEL_WIDTH - (int)strlen(text), LABEL_WIDTH,
				    STYLE_NONE, text);
		}
		canvas_text(canvas, y + i, LABEL_WIDTH + 1, 1, STYLE_DIM, "|");
		draw_line(canvas, y + i, (size_t)(lines - 1 - i) * LEVELS, (size_t)lines * LEVELS,
			  samples, n, &range);
	}
	draw_axis(canvas, y + lines, history, n);
	return lines + 1;
}
