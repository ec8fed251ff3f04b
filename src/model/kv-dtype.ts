/** The types that a cache can hold keys and values in; bfloat16 takes half the memory. */
export const KV_DTYPES = ['float32', 'bfloat16'] as const;
export type KvDtype = (typeof KV_DTYPES)[number];
