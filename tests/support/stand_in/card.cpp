// All kernels, compiled for the processor. A file's constants may share a name with another's.

#include "card.h"

#include "../../../crates/prunelens-kernels/src/cuda/common.cuh"

#include "../../../crates/prunelens-kernels/src/cuda/act.cuh"

#include "tensor.h"

namespace attention_file {
#include "../../../crates/prunelens-kernels/src/cuda/attention.cu"
}
namespace bits_file {
#include "../../../crates/prunelens-kernels/src/cuda/bits.cu"
}
namespace decode_file {
#include "../../../crates/prunelens-kernels/src/cuda/decode.cu"
}
namespace encode_file {
#include "../../../crates/prunelens-kernels/src/cuda/encode.cu"
}
namespace layers_file {
#include "../../../crates/prunelens-kernels/src/cuda/layers.cu"
}
namespace losses_file {
#include "../../../crates/prunelens-kernels/src/cuda/losses.cu"
}
namespace mask_file {
#include "../../../crates/prunelens-kernels/src/cuda/mask.cu"
}
namespace nearest_file {
#include "../../../crates/prunelens-kernels/src/cuda/nearest.cu"
}
namespace paths_file {
#include "../../../crates/prunelens-kernels/src/cuda/paths.cu"
}
namespace prune_file {
#include "../../../crates/prunelens-kernels/src/cuda/prune.cu"
}
namespace ragged_file {
#include "../../../crates/prunelens-kernels/src/cuda/ragged.cu"
}
namespace rules_file {
#include "../../../crates/prunelens-kernels/src/cuda/rules.cu"
}
namespace select_file {
#include "../../../crates/prunelens-kernels/src/cuda/select.cu"
}
namespace spread_file {
#include "../../../crates/prunelens-kernels/src/cuda/spread.cu"
}
namespace texts_file {
#include "../../../crates/prunelens-kernels/src/cuda/texts.cu"
}
namespace train_file {
#include "../../../crates/prunelens-kernels/src/cuda/train.cu"
}
