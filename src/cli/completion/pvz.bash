# Completion of pvz for bash. Load it with: source <(pvz completion bash)

_pvz() {
    local rest=${COMP_LINE:0:COMP_POINT} piece word kind= prefix= typed= line i
    local -a words=()
    # bash splits words at = and : too. Join the pieces that no space separates.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${rest%%[![:space:]]*}
        rest=${rest#"$piece"}
        if [[ $i -eq 0 || -n $piece ]]; then words+=(""); fi
        if [[ $i -eq $COMP_CWORD ]]; then piece=$rest; else piece=${COMP_WORDS[i]}; fi
        words[${#words[@]} - 1]+=$piece
        rest=${rest#"$piece"}
    done
    word=${words[${#words[@]} - 1]}
    # readline keeps what precedes the last separator, and inserts only the rest.
    local separators=${COMP_WORDBREAKS//[^=:]/}
    if [[ -n $separators ]]; then typed=${word%"${word##*["$separators"]}"}; fi
    local program=${words[0]}
    type -P -- "$program" >/dev/null || program=pvz
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then
            kind=${line%% *} prefix=${line#* }
        elif line=${line%%$'\t'*} && [[ $line == "$word"* ]]; then
            COMPREPLY+=("${line#"$typed"}")
        fi
    done < <("$program" __complete "${words[@]:1}" 2>/dev/null)
    case $kind in
        files) compopt -o default 2>/dev/null || _pvz_paths -f ;;
        folders) compopt -o dirnames 2>/dev/null || _pvz_paths -d ;;
        *)
            if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:/] ]]; then
                compopt -o nospace 2>/dev/null || :
            fi
            ;;
    esac
}

# Completes paths in bash 3, which cannot be asked to do so itself.
_pvz_paths() {
    local path=${word#"$prefix"}
    while IFS= read -r line; do
        line=$prefix$line
        COMPREPLY+=("${line#"$typed"}")
    done < <(compgen "$1" -- "$path")
}

complete -F _pvz pvz
