// SdaQuantise where tensors are on a GPU: it stays with the host, as weights are quantised between being read and being
// sent to the GPU. TensorFlow brings what it takes.

#if defined(SDA_CUDA)

#include "../registry.h"

namespace sda {

SDA_GPU_OPERATION(SdaQuantise);

}  // namespace sda

#endif
