package rule

import "bytes"

// writer collects one input of iptables-restore --noflush. There, declaring a
// chain creates or empties it, and each table is committed at once.
type writer struct {
	prefix string
	chains int
	tables map[Table]*section
}

type section struct{ declare, add, remove bytes.Buffer }

func (w *writer) section(t Table) *section {
	if w.tables == nil {
		w.tables = map[Table]*section{}
	}
	if w.tables[t] == nil {
		w.tables[t] = &section{}
	}
	return w.tables[t]
}

// chain replaces a chain's rules; nil removes the chain.
func (w *writer) chain(key chainKey, rules []string) {
	w.chains++
	s, name := w.section(key.table), w.prefix+key.name
	s.declare.WriteString(":" + name + " - [0:0]\n")
	if rules == nil {
		s.remove.WriteString("-X " + name + "\n")
		return
	}
	for _, r := range rules {
		s.add.WriteString("-A ")
		s.add.WriteString(name)
		s.add.WriteByte(' ')
		s.add.WriteString(r)
		s.add.WriteByte('\n')
	}
}

func (w *writer) hook(h Hook) {
	s := w.section(h.Table)
	if h.Moved {
		s.add.WriteString("-D " + h.Rule() + "\n")
	}
	s.add.WriteString("-I " + h.Parent + " 1 -j " + h.Chain + "\n")
}

func (w *writer) bytes() ([]byte, int) {
	if w.tables == nil {
		return nil, 0
	}
	var out bytes.Buffer
	for _, t := range Tables {
		s := w.tables[t]
		if s == nil {
			continue
		}
		out.WriteString("*" + string(t) + "\n")
		out.Write(s.declare.Bytes())
		out.Write(s.add.Bytes())
		out.Write(s.remove.Bytes())
		out.WriteString("COMMIT\n")
	}
	return out.Bytes(), w.chains
}
