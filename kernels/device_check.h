// Whether this addon's CUDA code runs on the device.
#pragma once

namespace sda {
namespace cuda {

// Why it does not (no code for the device's architecture, a driver that is too old), or an empty text.
const char* device_problem();

}  // namespace cuda
}  // namespace sda
