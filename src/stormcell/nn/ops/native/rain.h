/* What the kernels of predictive distributions of the rain rate share. */

#ifndef RAIN_H
#define RAIN_H

#include "number.h"

enum { STRIP = 64 }; /* pixels of a row computed together */

#endif
