// Thread: control. Set-up errors that name the errno and what an operator can do about it.
#pragma once
#include <cstring>
#include <string>

#include "base/result.h"

namespace culvert::net {

/**
 * An Error whose message starts with the errno's name and a colon ("EPERM: …"): the addon makes that the JavaScript
 * error's `code`. `remedy` may be empty.
 */
inline Error setup_error(int error_number, const std::string& what, const std::string& remedy = {}) {
  const char* name = ::strerrorname_np(error_number);
  std::string message = name == nullptr ? "EUNKNOWN" : name;
  message += ": " + what + ": " + std::strerror(error_number);
  if (!remedy.empty()) message += "; " + remedy;
  return Error{std::move(message)};
}

}  // namespace culvert::net
