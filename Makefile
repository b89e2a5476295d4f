# Everything a person types; `make help` lists it.

# Recipes and paths below are relative to this folder, so its own name may hold anything.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

# Options. A change of any of them, or of a compiler, rebuilds what it concerns.
GPU ?= 0
CUDNN ?= 0
OPENCV ?= 1
OPENMP ?= 1
OPENBLAS ?= 1
MPI ?= 0
DEBUG ?= 0
ASAN ?= 0
MARCH ?= native
ARCH ?= $(foreach a,75 80 86 89 90 100 120,-gencode arch=compute_$a,code=sm_$a) \
    -gencode arch=compute_120,code=compute_120
DARKNET ?=
ifneq ($(filter ~/%,$(firstword $(DARKNET))),)
override DARKNET := $(HOME)$(patsubst ~%,%,$(DARKNET))
endif
PATCHES ?= darknet-patches
# The optimizers alone are built apart: they need less.
lib_goals := lib install uninstall
lib_only := $(if $(filter-out $(lib_goals),$(or $(MAKECMDGOALS),all)),,1)
BUILD ?= $(if $(filter $(lib_goals),$(MAKECMDGOALS)),build/lib,build)
PREFIX ?= /usr/local
HOST_DIR ?= $(BUILD)/host
DOWNLOADS ?= $(BUILD)/download
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(CC)),clang++,g++)
endif
ifeq ($(GPU),1)
NVCC ?= $(or $(shell command -v nvcc),/usr/local/cuda/bin/nvcc)
CUDA ?= $(patsubst %/bin/nvcc,%,$(NVCC))
endif

# What people type, and below dev/ what only developers run.
mains := $(patsubst tools/%.c,%,$(wildcard tools/*.c tools/dev/*.c))
# darknet looks for the shipped optimizers beside itself.
models := $(patsubst weights/%,$(BUILD)/%,$(wildcard weights/*.safetensors))
unit_tests := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))

.PHONY: all lib install uninstall test check check-asan bench demo figures stock help clean distclean FORCE
all: $(BUILD)/darknet $(mains:%=$(BUILD)/%) $(models)

help:
	@echo 'make              build/darknet, build/dev/replay and the other tools; installs, fetches and patches'
	@echo '                  what that needs (as root, or through sudo when a package is missing)'
	@echo 'make lib          build/lib/libhrnn.a, the optimizers alone: no Darknet, no OpenCV, no connection'
	@echo 'make install      their header, library, pkg-config file and models, below PREFIX=/usr/local; uninstall'
	@echo 'make test         unit tests, golden traces and end-to-end tests; TESTS=short make test: the quick unit'
	@echo '                  tests; TESTS=long make test: all, some in long versions'
	@echo 'make check-asan   the same, built with the address and undefined-behaviour sanitizers'
	@echo 'make bench        time and memory of a step; the patched host against the stock one'
	@echo 'make demo         train a small network on Fashion-MNIST with sgd, adam and hrnn; draw the curves'
	@echo 'make figures      robustness to the rate, cost against batch size, memory: tables and pictures (hours)'
	@echo 'make stock        build/stock/darknet, the host without any patch, to compare with'
	@echo 'make clean        remove what was built; downloads stay'
	@echo 'make distclean    remove build/'
	@echo
	@echo 'Options, with their defaults:'
	@echo '  DARKNET=        build on a copy of this Darknet checkout instead of the Debian source package'
	@echo '  GPU=0 CUDNN=0   CUDA, for the host and the optimizers, and cuDNN (needs nvcc; CUDA=folder)'
	@echo '  ARCH=           nvcc -gencode flags; by default Turing to Blackwell'
	@echo '  OPENCV=1 OPENMP=1 OPENBLAS=1'
	@echo '  MPI=0           1: build/metatrain runs on many machines, under mpirun (OpenMPI)'
	@echo '  DEBUG=0         1: -O0 -g'
	@echo '  MARCH=native    what -march= is given'
	@echo '  CC=gcc          or clang'
	@echo '  BUILD=build     where everything goes'

clean:
	@shopt -s dotglob nullglob; for f in '$(BUILD)'/*; do \
	    [ "$$f" = '$(DOWNLOADS)' ] || rm -rf "$$f"; done
distclean:
	rm -rf '$(BUILD)'

# --- Flags ---
comma := ,
debug := $(filter 1,$(DEBUG))
asan := $(filter 1,$(ASAN))
mpi := $(filter 1,$(MPI))
gpu := $(filter 1,$(GPU))
optimise = $(if $(debug),-O0 -g,$(if $(asan),-O1 -g,-O3)) -march=$(MARCH)
sanitize = $(if $(asan),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined \
    -fno-omit-frame-pointer)
openmp = $(if $(filter 1,$(OPENMP)),-fopenmp,-Wno-unknown-pragmas)

# Ours: warnings are errors; no flag that lets the compiler take NaN and infinity for impossible.
own_cflags = -std=gnu11 -Wall -Wextra -Werror $(optimise) -fno-math-errno -fno-trapping-math \
    $(openmp) $(sanitize) -Isrc $(if $(gpu),-DGPU -isystem $(CUDA)/include)
own_cxxflags = -std=gnu++17 $(filter-out -std=%,$(own_cflags))
own_nvccflags = -O3 $(ARCH) -std=c++17 --Werror all-warnings -Isrc -DGPU \
    --compiler-options -Wall,-Wextra$(if $(debug),$(comma)-g)

# The host's: upstream builds with -Ofast, which compiles isnan away and, when linking, flushes
# denormals to zero in the whole process. These flags are what is left of it without either.
host_cflags = -w $(optimise) -fno-math-errno -fno-trapping-math -fno-signed-zeros \
    -fassociative-math -freciprocal-math $(openmp) $(sanitize) -pthread
host_macros = $(if $(filter 1,$(OPENCV)),-DOPENCV) $(if $(filter 1,$(OPENBLAS)),-DOPENBLAS) \
    $(if $(filter 1,$(GPU)),-DGPU -I$(CUDA)/include) \
    $(if $(filter 1,$(GPU)),$(if $(filter 1,$(CUDNN)),-DCUDNN))
host_includes = -I$(HOST_DIR)/include -I$(HOST_DIR)/src -Isrc/darknet -Isrc/base
nvcc_flags = -O3 $(ARCH) -w --compiler-options '$(filter-out -w -march=%,$(host_cflags))'

libs = $(cjson_libs) $(openblas_libs) -lxxhash -lz $(cuda_libs) -lm -pthread $(if $(mpi),$(mpi_libs))
cuda_libs = $(if $(gpu),-L$(CUDA)/lib64 -Wl$(comma)-rpath$(comma)$(CUDA)/lib64 -lcudart -lstdc++)
mpi_libs = $(shell pkg-config --libs ompi-c)
host_libs = $(if $(filter 1,$(OPENCV)),$(opencv_libs) -lstdc++) \
    $(if $(gpu),$(cuda_libs) -lcublas -lcurand $(if $(filter 1,$(CUDNN)),-lcudnn))

# --- What building needs to know: installed packages, flags, the host's sources. ---
# Both files are included, so make brings them up to date and starts again when they changed.
packages := $(if $(lib_only),lib,build $(if $(mains),data)) $(if $(mpi),mpi) $(if $(findstring clang,$(CC)),clang) \
    $(if $(filter test check check-asan,$(MAKECMDGOALS)),test)
define settings
CC=$(CC) CXX=$(CXX) NVCC=$(NVCC)
own: $(own_cflags) $(CFLAGS) $(if $(mpi),MPI)
host: $(host_cflags) $(host_macros) $(host_includes) $(CFLAGS)
gpu: $(if $(gpu),$(own_nvccflags) $(nvcc_flags))
link: $(LDFLAGS)
endef
export settings

ifneq ($(filter-out help clean distclean,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/config.mk $(if $(lib_only),,$(HOST_DIR).mk)
endif

$(BUILD)/config.mk: FORCE
	@tools/install-packages.sh $(packages)
	@mkdir -p '$(@D)'; \
	{ printf '%s\n' "$$settings" | sed 's/^/# /'; \
	  $(CC) --version | sed -n '1s/^/# /p'; \
	  $(CC) -march=$(MARCH) -### -E -x c /dev/null 2>&1 | grep -v COLLECT | sha256sum | sed 's/^/# /'; \
	  echo "opencv_cflags := $$(pkg-config --cflags opencv4)"; \
	  echo "opencv_libs := $(addprefix -lopencv_,core imgproc imgcodecs videoio highgui)"; \
	  echo "openblas_cflags := $$(pkg-config --cflags openblas)"; \
	  echo "openblas_libs := $$(pkg-config --libs openblas)"; \
	  echo "cjson_cflags := $$(pkg-config --cflags libcjson)"; \
	  echo "cjson_libs := $$(pkg-config --libs libcjson)"; \
	} > '$@.new'; \
	if cmp -s '$@.new' '$@'; then rm '$@.new'; else mv '$@.new' '$@'; fi

$(HOST_DIR).mk: $(BUILD)/config.mk FORCE
	@$(if $(DARKNET),true,tools/fetch-host.sh '$(DOWNLOADS)' '$(BUILD)/upstream')
	@tools/patch-host.sh '$(or $(DARKNET),$(BUILD)/upstream)' '$(HOST_DIR)' '$(PATCHES)'
	@( cd '$(HOST_DIR)/src'; \
	  echo "host_c :=" $$(ls *.c | grep -vx compare.c); \
	  echo "host_cpp :=" $$(ls *.cpp | grep -vx image_opencv.cpp); \
	  echo "host_cu :=" $$(ls *.cu); \
	) > '$@.new'; \
	if cmp -s '$@.new' '$@'; then rm '$@.new'; else mv '$@.new' '$@'; fi

# --- Objects ---
host_commands := captcha lsd super art tag cifar go rnn segmenter regressor classifier coco yolo \
    detector nightmare instance-segmenter darknet
command_objects := $(host_commands:%=$(BUILD)/host-obj/%.o)
host_objects := $(patsubst %,$(BUILD)/host-obj/%.o,$(basename $(host_c) \
    $(if $(filter 1,$(OPENCV)),$(host_cpp)) $(if $(filter 1,$(GPU)),$(host_cu))))
# The optimizers alone: what a program needs that trains with optimizer.h, and all that the hook needs.
kernels := $(wildcard src/*/*.cu)
library_objects := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter-out $(if $(gpu),,src/hrnn/hrnn_cuda.c), \
    $(wildcard $(patsubst %,src/%/*.c,base files optimizer hrnn)))) $(if $(gpu),$(kernels:src/%=$(BUILD)/obj/%.o))
hook_objects := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(wildcard src/darknet/*.c))
# What the other tools and the tests need besides.
meta_objects := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter-out src/meta/comm_$(if $(mpi),self,mpi).c, \
    $(wildcard $(patsubst %,src/%/*.c,adjoint problems meta darknet_meta compare))))

# What includes the host's header is compiled with the host's macros (its structures depend on them).
host_users := $(basename $(shell grep -l '^\#include "darknet' src/darknet/*.c src/darknet_meta/*.c tools/*.c tools/dev/*.c tests/*.c 2>/dev/null))
host_mains := $(patsubst tools/%,$(BUILD)/%,$(filter tools/%,$(host_users))) \
    $(patsubst tests/%,$(BUILD)/tests/%,$(filter tests/%,$(host_users)))
$(patsubst %,$(BUILD)/obj/%.o,$(patsubst src/%,%,$(host_users))): own_cflags += $(host_macros) \
    $(patsubst -I$(HOST_DIR)%,-isystem $(HOST_DIR)%,$(host_includes))

$(BUILD)/obj/meta/comm_mpi.o: own_cflags += $(shell pkg-config --cflags ompi-c)
$(BUILD)/obj/meta/metatrain_checkpoint.o: own_cflags += -I$(BUILD)
$(BUILD)/obj/meta/metatrain_checkpoint.o: $(BUILD)/version.h
# The commit that models are made with, for their metadata.
$(BUILD)/version.h: FORCE
	@mkdir -p '$(@D)'; echo "#define HRNN_VERSION \"$$(git describe --always --dirty 2>/dev/null || echo unknown)\"" > '$@.new'; \
	if cmp -s '$@.new' '$@'; then rm '$@.new'; else mv '$@.new' '$@'; fi
$(BUILD)/obj/%.o: src/%.c $(BUILD)/config.mk $(if $(lib_only),,$(HOST_DIR).mk)
	@echo 'CC   $<'; mkdir -p '$(@D)'
	@$(CC) $(own_cflags) $(CFLAGS) $(cjson_cflags) $(openblas_cflags) -MD -MP -c '$<' -o '$@'

$(BUILD)/obj/%.cu.o: src/%.cu $(BUILD)/config.mk
	@echo 'NVCC $<'; mkdir -p '$(@D)'
	@$(NVCC) $(own_nvccflags) -MMD -MP -c '$<' -o '$@'

$(BUILD)/host-obj/%.o: $(HOST_DIR)/src/%.c $(BUILD)/config.mk
	@echo 'CC   $<'; mkdir -p '$(@D)'
	@$(CC) $(host_cflags) $(CFLAGS) $(host_macros) $(host_includes) $(openblas_cflags) -MMD -MP -c '$<' -o '$@'
$(BUILD)/host-obj/%.o: $(HOST_DIR)/examples/%.c $(BUILD)/config.mk
	@echo 'CC   $<'; mkdir -p '$(@D)'
	@$(CC) $(host_cflags) $(CFLAGS) $(host_macros) $(host_includes) $(openblas_cflags) -MMD -MP -c '$<' -o '$@'
$(BUILD)/host-obj/%.o: $(HOST_DIR)/src/%.cpp $(BUILD)/config.mk
	@echo 'CXX  $<'; mkdir -p '$(@D)'
	@$(CXX) $(host_cflags) $(CFLAGS) $(host_macros) $(host_includes) $(opencv_cflags) -MMD -MP -c '$<' -o '$@'
$(BUILD)/host-obj/%.o: $(HOST_DIR)/src/%.cu $(BUILD)/config.mk
	@echo 'NVCC $<'; mkdir -p '$(@D)'
	@$(NVCC) $(nvcc_flags) $(host_macros) $(host_includes) -MMD -MP -c '$<' -o '$@'

$(BUILD)/libdarknet.a: $(host_objects) $(hook_objects)
	@echo 'AR   $@'; rm -f '$@'; $(AR) rcs '$@' $^

# --- The optimizers alone ---
lib: $(BUILD)/libhrnn.a

$(BUILD)/libhrnn.a: $(library_objects)
	@echo 'AR   $@'; rm -f '$@'; $(AR) rcs '$@' $^
$(BUILD)/libmeta.a: $(meta_objects)
	@echo 'AR   $@'; rm -f '$@'; $(AR) rcs '$@' $^

installed = include/hrnn/optimizer.h include/hrnn/error.h lib/libhrnn.a lib/pkgconfig/hrnn.pc \
    $(patsubst weights/%,share/hrnn/%,$(wildcard weights/*.safetensors))
install: lib
	@mkdir -p $(patsubst %,'$(DESTDIR)$(PREFIX)/%',include/hrnn lib/pkgconfig share/hrnn)
	@sed 's#"base/error.h"#"error.h"#' src/optimizer/optimizer.h > '$(DESTDIR)$(PREFIX)/include/hrnn/optimizer.h'
	@cp src/base/error.h '$(DESTDIR)$(PREFIX)/include/hrnn/'
	@cp '$(BUILD)/libhrnn.a' '$(DESTDIR)$(PREFIX)/lib/'
	@cp weights/*.safetensors '$(DESTDIR)$(PREFIX)/share/hrnn/'
	@printf '%s\n' 'prefix=$(PREFIX)' 'models=$${prefix}/share/hrnn' '' 'Name: hrnn' \
	    'Description: A learned optimizer, and sgd, adam and rmsprop behind the same interface' 'Version: 1' \
	    'Cflags: -I$${prefix}/include' \
	    'Libs: -L$${prefix}/lib -lhrnn $(openmp) $(cjson_libs) -lxxhash $(cuda_libs) -lm -pthread' \
	    > '$(DESTDIR)$(PREFIX)/lib/pkgconfig/hrnn.pc'
	@echo 'installed below $(DESTDIR)$(PREFIX)'
uninstall:
	@for f in $(installed); do rm -f '$(DESTDIR)$(PREFIX)'/$$f; done
	@rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(PREFIX)/include/hrnn' '$(DESTDIR)$(PREFIX)/share/hrnn' 2>/dev/null || true
	@echo 'removed from $(DESTDIR)$(PREFIX)'

# --- Programs ---
link_order = $(filter %.o,$1) $(foreach a,meta darknet hrnn,$(filter %/lib$a.a,$1))
link_flags = -Wl$(comma)--as-needed $(openmp) $(sanitize) $(LDFLAGS)
$(BUILD)/darknet: $(command_objects) $(BUILD)/libdarknet.a $(BUILD)/libhrnn.a
	@echo 'LINK $@'
	@$(CC) $^ -o '$@' $(link_flags) $(host_libs) $(libs)

$(host_mains): libs += $(host_libs)
$(host_mains): $(BUILD)/libdarknet.a
$(BUILD)/%: $(BUILD)/obj/tools/%.o $(BUILD)/libmeta.a $(BUILD)/libhrnn.a
	@echo 'LINK $@'; mkdir -p '$(@D)'
	@$(CC) $(call link_order,$^) -o '$@' $(link_flags) -lpng $(libs)
$(BUILD)/obj/tools/%.o: tools/%.c $(BUILD)/config.mk
	@echo 'CC   $<'; mkdir -p '$(@D)'
	@$(CC) $(own_cflags) $(CFLAGS) $(cjson_cflags) -MD -MP -c '$<' -o '$@'

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libmeta.a $(BUILD)/libhrnn.a
	@echo 'LINK $@'; mkdir -p '$(@D)'
	@$(CC) $(call link_order,$^) -o '$@' $(link_flags) -lcmocka $(libs)
$(BUILD)/obj/tests/%.o: tests/%.c $(BUILD)/config.mk
	@echo 'CC   $<'; mkdir -p '$(@D)'
	@$(CC) $(own_cflags) $(CFLAGS) $(cjson_cflags) -MD -MP -c '$<' -o '$@'

# The kernels on an emulated GPU, and the vector code at the width of a CUDA thread: their tests need
# neither nvcc nor a GPU.
emulated := $(kernels:src/%=$(BUILD)/obj/emulated/%.o) $(BUILD)/obj/emulated/emulation.o \
    $(patsubst %,$(BUILD)/obj/emulated/%.o,base/device hrnn/hrnn_cuda hrnn/rule_hrnn optimizer/moments \
    optimizer/rule_adam optimizer/rule_rmsprop optimizer/rule_sgd)
scalar := $(patsubst %,$(BUILD)/obj/scalar/%.o,adjoint/hrnn_adjoint adjoint/hrnn_adjoint_back \
    adjoint/hrnn_unroll hrnn/hrnn_step hrnn/rule_hrnn)
cuda_tests := $(patsubst %,$(BUILD)/tests/%,replay-emulated replay-scalar lanes-scalar rows-scalar \
    $(if $(gpu),cuda-on-gpu))
emulated_flags = $(filter-out -DGPU,$1) -DGPU -Itests/emulation
$(BUILD)/obj/emulated/%.o: src/%.c $(BUILD)/config.mk
	@echo 'CC   $< (emulated)'; mkdir -p '$(@D)'
	@$(CC) $(call emulated_flags,$(own_cflags)) $(CFLAGS) -MMD -MP -c '$<' -o '$@'
$(BUILD)/obj/emulated/%.o: tests/emulation/%.c $(BUILD)/config.mk
	@echo 'CC   $<'; mkdir -p '$(@D)'
	@$(CC) $(call emulated_flags,$(own_cflags)) $(CFLAGS) -MMD -MP -c '$<' -o '$@'
$(BUILD)/obj/emulated/%.cu.o: src/%.cu $(BUILD)/config.mk
	@echo 'CXX  $< (emulated)'; mkdir -p '$(@D)'
	@$(CXX) $(call emulated_flags,$(own_cxxflags)) -Wno-unknown-pragmas -fno-exceptions $(CXXFLAGS) \
	    -MMD -MP -include tests/emulation/cuda_runtime.h -x c++ -c '$<' -o '$@'
$(BUILD)/obj/scalar/%.o: src/%.c $(BUILD)/config.mk
	@echo 'CC   $< (scalar)'; mkdir -p '$(@D)'
	@$(CC) $(own_cflags) -DLANES=1 $(CFLAGS) -MMD -MP -c '$<' -o '$@'
$(BUILD)/obj/scalar/%.o: tests/%.c $(BUILD)/config.mk
	@echo 'CC   $< (scalar)'; mkdir -p '$(@D)'
	@$(CC) $(own_cflags) -DLANES=1 $(CFLAGS) -MMD -MP -c '$<' -o '$@'
$(BUILD)/obj/tests/test_cuda.o: own_cflags := $(call emulated_flags,$(own_cflags))
$(BUILD)/tests/test_cuda: $(emulated)
$(BUILD)/tests/replay-emulated: $(emulated) $(BUILD)/obj/tools/dev/replay.o
$(BUILD)/tests/replay-scalar: $(scalar) $(BUILD)/obj/tools/dev/replay.o
$(BUILD)/tests/lanes-scalar: $(BUILD)/obj/scalar/test_lanes.o
$(BUILD)/tests/rows-scalar: $(BUILD)/obj/scalar/test_rows.o
$(BUILD)/obj/tests/cuda-on-gpu.o: tests/test_cuda.c $(BUILD)/config.mk
	@echo 'CC   $< (on a GPU)'; mkdir -p '$(@D)'
	@$(CC) $(own_cflags) -DON_GPU $(CFLAGS) -MMD -MP -c '$<' -o '$@'
$(BUILD)/tests/cuda-on-gpu: $(BUILD)/obj/tests/cuda-on-gpu.o
$(cuda_tests): $(BUILD)/libmeta.a $(BUILD)/libhrnn.a
	@echo 'LINK $@'; mkdir -p '$(@D)'
	@$(CC) $(call link_order,$^) -o '$@' $(link_flags) -lcmocka $(libs)

# metatrain with MPI, for the tests of builds without.
$(BUILD)/tests/metatrain-mpi: libs += $(mpi_libs) $(host_libs)
$(BUILD)/tests/metatrain-mpi: $(BUILD)/obj/tools/metatrain.o $(BUILD)/obj/meta/comm_mpi.o \
    $(BUILD)/libmeta.a $(BUILD)/libdarknet.a $(BUILD)/libhrnn.a
	@echo 'LINK $@'; mkdir -p '$(@D)'
	@$(CC) $(call link_order,$^) -o '$@' $(link_flags) $(libs)

$(models): $(BUILD)/%: weights/%
	@mkdir -p '$(@D)'; cp '$<' '$@'

.SECONDARY:
-include $(patsubst %.o,%.d,$(command_objects) $(host_objects) $(hook_objects) $(library_objects) $(meta_objects) \
    $(mains:%=$(BUILD)/obj/tools/%.o) $(unit_tests:%=$(BUILD)/obj/tests/%.o) $(emulated) $(scalar) \
    $(BUILD)/obj/scalar/test_lanes.o $(BUILD)/obj/scalar/test_rows.o \
    $(BUILD)/obj/tests/cuda-on-gpu.o)

# --- Checks ---
test check: all stock $(unit_tests:%=$(BUILD)/tests/%) $(BUILD)/tests/metatrain-mpi $(cuda_tests)
	@BUILD='$(BUILD)' HOST='$(HOST_DIR)' tests/run.sh

# Small networks; the tests test_host_* have the kinds of layers that these lack, `make test` all cfgs.
asan_cfgs := cifar.cfg go.cfg gru.cfg rnn.train.cfg strided.cfg t1.test.cfg tiny.cfg vgg-conv.cfg \
    writing.cfg yolov1-tiny.cfg yolov2-tiny-voc.cfg yolov3-tiny.cfg
check-asan:
	@CFGS="$${CFGS:-$(asan_cfgs)}" $(MAKE) --no-print-directory BUILD='$(BUILD)/asan' HOST_DIR='$(HOST_DIR)' DOWNLOADS='$(DOWNLOADS)' ASAN=1 check

# The host as it comes, built by its own Makefile with the same options, for comparisons.
stock: $(BUILD)/stock/darknet
$(BUILD)/stock/darknet: $(BUILD)/config.mk
	@$(if $(DARKNET),tools/fetch-host.sh '$(DOWNLOADS)' '$(BUILD)/upstream',true)
	@rm -rf '$(@D)'; cp -R '$(BUILD)/upstream' '$(@D)'
	@echo 'MAKE $@'; $(MAKE) -s -C '$(@D)' OPENMP=1 > '$(BUILD)/stock.log' 2>&1 || \
	    { tail -n 20 '$(BUILD)/stock.log'; exit 1; }

# Each tools/dev/bench-*.c and then each tools/dev/bench-*.sh prints its own figures.
bench: all stock
	@set -e; for f in $(filter dev/bench-%,$(mains)); do '$(BUILD)'/$$f; done; \
	for f in $(wildcard tools/dev/bench-*.sh); do BUILD='$(BUILD)' $$f; done

demo: all
	@tools/install-packages.sh demo
	@BUILD='$(BUILD)' tools/demo.sh

figures: all
	@tools/install-packages.sh demo
	@BUILD='$(BUILD)' tools/figures.sh
