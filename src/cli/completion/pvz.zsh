#compdef pvz
# Completion of pvz for zsh. Write it to a folder of $fpath as _pvz, or load it with:
# source <(pvz completion zsh)

_pvz() {
    local -a words_before lines plain open
    local kind prefix line name description program=$words[1]
    whence -p -- $program >/dev/null || program=pvz
    (( CURRENT > 2 )) && words_before=("${(@Q)words[2,CURRENT-1]}")
    lines=("${(@f)$($program __complete "${(@)words_before}" "${(Q)PREFIX}" 2>/dev/null)}")
    kind=${lines[1]%% *}
    prefix=${lines[1]#* }
    case $kind in
        (files | folders)
            IPREFIX+=$prefix
            PREFIX=${PREFIX#"$prefix"}
            if [[ $kind == files ]]; then _files; else _files -/; fi
            ;;
        (words)
            for line in "${(@)lines[2,-1]}"; do
                name=${line%%$'\t'*}
                description=${line#*$'\t'}
                line=${name//:/\\:}${description:+:$description}
                # The value follows without a space.
                if [[ $name == *[=:/] ]]; then open+=("$line"); else plain+=("$line"); fi
            done
            _describe -t values pvz plain -- open -S ''
            ;;
    esac
}

if [[ $funcstack[1] == _pvz ]]; then _pvz "$@"; else compdef _pvz pvz; fi
