/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRTLEAK_DEMANGLE_H
#define SRTLEAK_DEMANGLE_H

#define DEMANGLED_MAX 1024 /* bytes; what exceeds it is cut */

/* The name behind a C++ or Rust symbol, or the symbol itself where it is neither; the caller frees
 * it. NULL: no memory. Symbols come from strangers, and a short one can stand for gigabytes: only
 * what is kept of the name is ever made.
 */
char *demangle(const char *symbol);

#endif
