/* Texts that say the same: letters folded (case, accents, width), blanks as one, no full stop at the end. Pure, thread-safe. */
#ifndef CENOTE_CORE_NORMAL_H
#define CENOTE_CORE_NORMAL_H

#include "base/arena.h"

/* In a; "" stays "". .p NULL: out of memory. Bytes that are no UTF-8 are left out. */
struct str normal_text(struct arena *a, struct str s);
/* Whether part stands in whole, both normal, as whole words. */
bool normal_within(struct str whole, struct str part);

#endif
