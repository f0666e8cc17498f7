#include "embed/minilm/kernels.h"

size_t kernels_list(const struct kernels *out[KERNEL_FORMS])
{
	size_t n = 0;

#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
	    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
		out[n++] = &kernels_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		out[n++] = &kernels_avx2;
#endif
	out[n++] = &kernels_portable;
	return n;
}

const struct kernels *kernels_choose(void)
{
	const struct kernels *all[KERNEL_FORMS];

	(void)kernels_list(all);
	return all[0];
}
