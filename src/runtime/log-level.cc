// Linked into tfjs-node's binding, whose functions come before TensorFlow's own of the same name: TensorFlow applies
// TF_CPP_MIN_LOG_LEVEL only after its first notices have been written, and this holds those to it too. A fatal error is
// always written. Empty for a TensorFlow that does not log through absl.
#if __has_include("absl/log/internal/globals.h")
#include <cstdio>
#include <cstdlib>

#include "absl/log/internal/globals.h"

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace log_internal {

void WriteToStderr(absl::string_view message, absl::LogSeverity severity) {
  const char* level = std::getenv("TF_CPP_MIN_LOG_LEVEL");
  const bool fatal = severity >= absl::LogSeverity::kFatal;
  if (!fatal && level != nullptr && static_cast<int>(severity) < std::atoi(level)) return;
  std::fwrite(message.data(), 1, message.size(), stderr);
  std::fflush(stderr);
}

}  // namespace log_internal
ABSL_NAMESPACE_END
}  // namespace absl
#endif
