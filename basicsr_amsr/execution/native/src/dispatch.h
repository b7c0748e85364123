// Which instruction set's kernels run.
#pragma once
#include "kernels.h"

const Kernels *selected();
