package main

import (
	"fmt"
	"time"

	"github.com/gogo/protobuf/proto"

	"github.com/grafana/dskit/kv/codec"
	"github.com/grafana/dskit/kv/memberlist"
)

// replicaDesc is the value of a key of the HA tracker, as Mimir stores it.
type replicaDesc struct {
	Replica        string `protobuf:"bytes,1,opt,name=replica,proto3" json:"replica"`
	ReceivedAt     int64  `protobuf:"varint,2,opt,name=received_at,proto3" json:"receivedAt"`
	DeletedAt      int64  `protobuf:"varint,3,opt,name=deleted_at,proto3" json:"deletedAt"`
	ElectedAt      int64  `protobuf:"varint,4,opt,name=elected_at,proto3" json:"electedAt"`
	ElectedChanges int64  `protobuf:"varint,5,opt,name=elected_changes,proto3" json:"electedChanges"`
}

var replicaDescCodec = codec.NewProtoCodec("replicaDesc", func() proto.Message { return &replicaDesc{} })

func (r *replicaDesc) Reset()         { *r = replicaDesc{} }
func (r *replicaDesc) String() string { return proto.CompactTextString(r) }
func (*replicaDesc) ProtoMessage()    {}

// Merge is Mimir's rule. Of one replica the later time counts, and at the same time a deletion; of
// two replicas the one elected later, and elected at the same time the one with the later time.
func (r *replicaDesc) Merge(incoming memberlist.Mergeable, _ bool) (memberlist.Mergeable, error) {
	other, ok := incoming.(*replicaDesc)
	if !ok {
		return nil, fmt.Errorf("expected a replicaDesc, got %T", incoming)
	}
	if other == nil {
		return nil, nil
	}
	before := *r
	if other.wins(r) {
		*r = *other
	}
	if *r == before {
		return nil, nil
	}
	return r.Clone(), nil
}

func (r *replicaDesc) wins(over *replicaDesc) bool {
	if r.Replica == over.Replica {
		if r.ReceivedAt == over.ReceivedAt {
			return r.DeletedAt != 0 && over.DeletedAt == 0
		}
		return r.ReceivedAt > over.ReceivedAt
	}
	if r.ElectedAt == over.ElectedAt {
		return r.ReceivedAt > over.ReceivedAt
	}
	return r.ElectedAt > over.ElectedAt
}

// MergeContent names the whole value: a change replaces an older one in the queue only if it is the same.
func (r *replicaDesc) MergeContent() []string {
	if r.Replica == "" {
		return nil
	}
	return []string{r.String()}
}

// RemoveTombstones has nothing to remove: the value has no parts that are deleted.
func (*replicaDesc) RemoveTombstones(time.Time) (total, removed int) { return 0, 0 }

func (r *replicaDesc) Clone() memberlist.Mergeable {
	clone := *r
	return &clone
}
