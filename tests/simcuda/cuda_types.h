/* SPDX-License-Identifier: Apache-2.0 */
/* The part of CUDA's public types that the simulated libraries need.
 *
 * Names, sizes and layouts are those of CUDA 12 and 13, so that programs built against the real
 * headers run on the simulation; what nothing here looks into is an opaque block of bytes.
 */
#ifndef SIMCUDA_CUDA_TYPES_H
#define SIMCUDA_CUDA_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* X(code, driver name, runtime name, text) */
#define SIMCUDA_ERRORS(X)                                                                       \
	X(0, CUDA_SUCCESS, cudaSuccess, "no error")                                             \
	X(1, CUDA_ERROR_INVALID_VALUE, cudaErrorInvalidValue, "invalid argument")               \
	X(2, CUDA_ERROR_OUT_OF_MEMORY, cudaErrorMemoryAllocation, "out of memory")              \
	X(3, CUDA_ERROR_NOT_INITIALIZED, cudaErrorInitializationError, "initialization error")  \
	X(35, CUDA_ERROR_STUB_DRIVER, cudaErrorInsufficientDriver, "no usable driver library")  \
	X(100, CUDA_ERROR_NO_DEVICE, cudaErrorNoDevice, "no device found")                      \
	X(101, CUDA_ERROR_INVALID_DEVICE, cudaErrorInvalidDevice, "invalid device ordinal")     \
	X(201, CUDA_ERROR_INVALID_CONTEXT, cudaErrorDeviceUninitialized, "invalid context")     \
	X(211, CUDA_ERROR_NOT_MAPPED, cudaErrorNotMapped, "resource not mapped")                \
	X(304, CUDA_ERROR_OPERATING_SYSTEM, cudaErrorOperatingSystem, "operating system error") \
	X(400, CUDA_ERROR_INVALID_HANDLE, cudaErrorInvalidResourceHandle, "invalid handle")     \
	X(500, CUDA_ERROR_NOT_FOUND, cudaErrorSymbolNotFound, "name not found")                 \
	X(712, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cudaErrorHostMemoryAlreadyRegistered, \
	  "memory is already registered")                                                       \
	X(713, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cudaErrorHostMemoryNotRegistered,         \
	  "memory is not registered")                                                           \
	X(801, CUDA_ERROR_NOT_SUPPORTED, cudaErrorNotSupported, "not supported")

typedef enum cudaError_enum {
#define X(code, driver, runtime, text) driver = (code),
	SIMCUDA_ERRORS(X)
#undef X
} CUresult;

enum cudaError {
#define X(code, driver, runtime, text) runtime = (code),
	SIMCUDA_ERRORS(X)
#undef X
};
typedef enum cudaError cudaError_t;

typedef unsigned long long CUdeviceptr;
typedef unsigned int CUdeviceptr_v1;
typedef int CUdevice;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef uint64_t cuuint64_t;

typedef struct CUctx_st *CUcontext;
typedef struct CUgreenCtx_st *CUgreenCtx;
typedef struct CUmod_st *CUmodule;
typedef struct CUlib_st *CUlibrary;
typedef struct CUarray_st *CUarray;
typedef struct CUmipmappedArray_st *CUmipmappedArray;
typedef struct CUstream_st *CUstream;
typedef uint32_t VdpDevice;
typedef int VdpGetProcAddress(VdpDevice device, uint32_t function, void **ret);
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef struct CUextMemory_st *CUexternalMemory;

typedef unsigned int CUarray_format;
typedef unsigned int CUmemAllocationType;
typedef unsigned int CUmemAllocationHandleType;
typedef unsigned int CUmemAllocationGranularity_flags;
typedef unsigned int CUmemLocationType;
typedef unsigned int CUmemAccess_flags;
typedef unsigned int CUexternalMemoryHandleType;
typedef unsigned int CUdriverProcAddressQueryResult;
typedef unsigned int CUjit_option;
typedef unsigned int CUmemPool_attribute;
typedef unsigned int CUlibraryOption;
typedef struct CUexecAffinityParam_st CUexecAffinityParam;
typedef struct CUctxCreateParams_st CUctxCreateParams;
typedef struct CUarrayMapInfo_st CUarrayMapInfo;

#define CU_MEM_LOCATION_TYPE_DEVICE 1
#define CU_MEM_LOCATION_TYPE_HOST 2
#define CU_MEM_LOCATION_TYPE_HOST_NUMA 3
#define CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT 4
#define CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR 1
#define CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD 1
#define CU_MEM_ALLOCATION_TYPE_MANAGED 2
#define CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM 2

enum { /* of CUmemPool_attribute: what is a number of bytes */
       CU_MEMPOOL_ATTR_RELEASE_THRESHOLD = 4,
       CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT = 5,
       CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH = 6,
       CU_MEMPOOL_ATTR_USED_MEM_CURRENT = 7,
       CU_MEMPOOL_ATTR_USED_MEM_HIGH = 8,
};

enum { /* of CUdriverProcAddressQueryResult */
       CU_GET_PROC_ADDRESS_SUCCESS = 0,
       CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND = 1,
       CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT = 2,
};

typedef struct {
	unsigned int Width;
	unsigned int Height;
	CUarray_format Format;
	unsigned int NumChannels;
} CUDA_ARRAY_DESCRIPTOR_v1;

typedef struct {
	unsigned int Width;
	unsigned int Height;
	unsigned int Depth;
	CUarray_format Format;
	unsigned int NumChannels;
	unsigned int Flags;
} CUDA_ARRAY3D_DESCRIPTOR_v1;

typedef struct {
	size_t Width;
	size_t Height;
	CUarray_format Format;
	unsigned int NumChannels;
} CUDA_ARRAY_DESCRIPTOR;

typedef struct {
	size_t Width;
	size_t Height;
	size_t Depth;
	CUarray_format Format;
	unsigned int NumChannels;
	unsigned int Flags;
} CUDA_ARRAY3D_DESCRIPTOR;

#define CUDA_ARRAY3D_SPARSE 0x40
#define CUDA_ARRAY3D_DEFERRED_MAPPING 0x80

typedef struct {
	CUmemLocationType type;
	int id;
} CUmemLocation;

typedef struct {
	CUmemAllocationType type;
	CUmemAllocationHandleType requestedHandleTypes;
	CUmemLocation location;
	void *win32HandleMetaData;
	unsigned char allocFlags[8];
} CUmemAllocationProp;

typedef struct {
	CUmemLocation location;
	CUmemAccess_flags flags;
} CUmemAccessDesc;

typedef struct cudaMemPoolProps {
	CUmemAllocationType allocType;
	CUmemAllocationHandleType handleTypes;
	CUmemLocation location;
	void *win32SecurityAttributes;
	size_t maxSize;
	unsigned short usage;
	unsigned char reserved[54];
} CUmemPoolProps;

typedef struct cudaMemAllocNodeParams {
	CUmemPoolProps poolProps;
	const CUmemAccessDesc *accessDescs;
	size_t accessDescCount;
	size_t bytesize;
	CUdeviceptr dptr;
} CUDA_MEM_ALLOC_NODE_PARAMS;

#define CU_GRAPH_NODE_TYPE_EMPTY 5
#define CU_GRAPH_NODE_TYPE_MEM_ALLOC 10
#define CU_GRAPH_NODE_TYPE_MEM_FREE 11

typedef struct cudaGraphNodeParams {
	unsigned int type;
	int reserved0[3];
	union {
		long long reserved1[29];
		CUDA_MEM_ALLOC_NODE_PARAMS alloc;
		struct {
			CUdeviceptr dptr;
		} free;
	};
	long long reserved2;
} CUgraphNodeParams;

typedef struct {
	unsigned int numDevices;
	size_t size;
	unsigned long long handleTypes;
	unsigned long long flags;
} CUmulticastObjectProp;

typedef struct {
	char reserved[64];
} CUipcMemHandle;

typedef struct cudaMemPoolPtrExportData {
	unsigned char reserved[64];
} CUmemPoolPtrExportData;

/* The runtime's of CUDA 12 ends before `reserved`, so that nothing may look at it. */
typedef struct cudaExternalMemoryHandleDesc {
	CUexternalMemoryHandleType type;
	union {
		int fd;
		struct {
			void *handle;
			const void *name;
		} win32;
		const void *nvSciBufObject;
	} handle;
	unsigned long long size;
	unsigned int flags;
	unsigned int reserved[16];
} CUDA_EXTERNAL_MEMORY_HANDLE_DESC;

typedef struct cudaExternalMemoryBufferDesc {
	unsigned long long offset;
	unsigned long long size;
	unsigned int flags;
	unsigned int reserved[16];
} CUDA_EXTERNAL_MEMORY_BUFFER_DESC;

typedef struct {
	unsigned long long offset;
	CUDA_ARRAY3D_DESCRIPTOR arrayDesc;
	unsigned int numLevels;
	unsigned int reserved[16];
} CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC;

typedef struct cudaGraphInstantiateParams_st {
	cuuint64_t flags;
	CUstream hUploadStream;
	CUgraphNode hErrNode_out;
	unsigned int result_out;
} CUDA_GRAPH_INSTANTIATE_PARAMS;

/* The runtime's names. */
typedef CUarray cudaArray_t;
typedef CUmipmappedArray cudaMipmappedArray_t;
typedef CUstream cudaStream_t;
typedef CUgraph cudaGraph_t;
typedef CUgraphNode cudaGraphNode_t;
typedef CUgraphExec cudaGraphExec_t;
typedef CUmemoryPool cudaMemPool_t;
typedef CUexternalMemory cudaExternalMemory_t;
typedef CUipcMemHandle cudaIpcMemHandle_t;
typedef CUDA_GRAPH_INSTANTIATE_PARAMS cudaGraphInstantiateParams;

enum cudaMemAllocationHandleType { cudaMemHandleTypePosixFileDescriptor = 1 };
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaChannelFormatKind {
	cudaChannelFormatKindSigned,
	cudaChannelFormatKindUnsigned,
	cudaChannelFormatKindFloat,
	cudaChannelFormatKindNone,
	cudaChannelFormatKindNV12,
};

struct cudaChannelFormatDesc {
	int x, y, z, w;
	enum cudaChannelFormatKind f;
};

struct cudaExtent {
	size_t width, height, depth;
};

struct cudaPitchedPtr {
	void *ptr;
	size_t pitch, xsize, ysize;
};

struct cudaExternalMemoryMipmappedArrayDesc {
	unsigned long long offset;
	struct cudaChannelFormatDesc formatDesc;
	struct cudaExtent extent;
	unsigned int flags;
	unsigned int numLevels;
	unsigned int reserved[16];
};

#endif
