#include "store/pack/pack.h"
