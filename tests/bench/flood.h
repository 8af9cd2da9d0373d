/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
#ifndef SRTLEAK_FLOOD_H
#define SRTLEAK_FLOOD_H

#define FLOOD_FIRST_ID (1ULL << 40) /* no allocation of a process comes so far */
#define FLOOD_BYTES 512
#define FLOOD_HELD 1000
#define FLOOD_PAIRS_MAX 256 /* of one run */

#endif
