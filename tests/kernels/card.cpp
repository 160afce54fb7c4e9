// All kernels, compiled for the processor. A file's constants may share a name with another's.

#include "card.h"

#include "../../src/kernels/cuda/common.cuh"

namespace decode_file {
#include "../../src/kernels/cuda/decode.cu"
}
namespace encode_file {
#include "../../src/kernels/cuda/encode.cu"
}
namespace layers_file {
#include "../../src/kernels/cuda/layers.cu"
}
namespace losses_file {
#include "../../src/kernels/cuda/losses.cu"
}
namespace mask_file {
#include "../../src/kernels/cuda/mask.cu"
}
namespace paths_file {
#include "../../src/kernels/cuda/paths.cu"
}
namespace prune_file {
#include "../../src/kernels/cuda/prune.cu"
}
namespace select_file {
#include "../../src/kernels/cuda/select.cu"
}
