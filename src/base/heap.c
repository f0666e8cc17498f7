#include "base/heap.h"

#include <malloc.h>

#define HEAPS 4
#define KEPT (1 << 20)
#define MAPPED (2 << 20)

void heap_setup(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_ARENA_MAX, HEAPS);
	(void)mallopt(M_TRIM_THRESHOLD, KEPT);
	(void)mallopt(M_MMAP_THRESHOLD, MAPPED);
#endif
}

void heap_trim(void)
{
#ifdef __GLIBC__
	(void)malloc_trim(0);
#endif
}
