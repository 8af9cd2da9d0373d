/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRTLEAK_VERSION_H
#define SRTLEAK_VERSION_H

#define SRTLEAK_VERSION "0.1.0"

#endif
