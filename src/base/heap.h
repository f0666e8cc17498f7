/* Memory that lies free in the heap, given back to the system.
 *
 * malloc keeps what is freed: after a burst (an import, the loading of a scope) a process would stay as large as it was at the
 * most. */
#ifndef CENOTE_BASE_HEAP_H
#define CENOTE_BASE_HEAP_H

/* Once, before there are threads. By itself malloc has a heap for each thread, and keeps the more of each for the next time the
 * larger the pieces were that were given back. With this there are 4, each keeps 1 MiB at its end, and pieces of 2 MiB and more go
 * back at once. */
void heap_setup(void);
/* To be called when something large has come to its end: it takes up to some milliseconds, in which others may wait for memory.
 * Thread-safe. */
void heap_trim(void);

#endif
